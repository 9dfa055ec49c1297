"""DICOM: objects read, derived objects and reports written, and the gateway between a PACS and the Enhancer."""

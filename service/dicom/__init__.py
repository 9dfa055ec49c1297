"""DICOM: the gateway and its objects. The routes of a hospital's PACS end here."""

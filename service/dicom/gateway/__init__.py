"""The gateway between a PACS and the Enhancer: a listener, a durable spool, a worker and senders."""

"""The native store: records in append-only segments, chained, from which events are made when somebody reads them."""

-- What a source ($1) has waiting in the outboxes (%[1]s): how many rows, and since when.
select pg_catalog.count(*), pg_catalog.min(at) from %[1]s o where source = $1

-- What a source ($1) has waiting in the outbox: how many rows, and since when.
select pg_catalog.count(*), pg_catalog.min(at) from rollcall.outbox where source = $1

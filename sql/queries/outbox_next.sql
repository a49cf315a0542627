-- The oldest rows of the outbox of some sources ($1), $2 at most, and no more than $3 bytes
-- but for the first; without those that are being applied ($4). The data of some sources ($5) is
-- not wanted.
select id, source, user_id, gone, data, at
from (
  select o.*, coalesce(pg_catalog.sum(pg_catalog.octet_length(o.data))
    over (order by o.id rows between unbounded preceding and 1 preceding), 0) as bytes_before
  from (
    select id, source, user_id, gone, case when source <> all ($5::text[]) then data::text end as data, at
    from rollcall.outbox
    where source = any($1::text[]) and not exists (select from pg_catalog.unnest($4::bigint[]) e where e = id)
    order by id limit $2
  ) o
) o
where bytes_before <= $3 - 1
order by id

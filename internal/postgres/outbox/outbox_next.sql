-- The oldest rows of the outbox of some sources ($1), $2 at most, and no more than $3 bytes
-- but for the first; without those that are being applied ($4). The data of some sources ($5) is
-- not wanted, nor even looked at; only these have rows of ids. The bytes are those that are
-- stored, which may be compressed:
-- they count eightfold. Of data that takes more than $6 bytes, what a client may have written is
-- left out, before anything becomes a text.
select o.id, o.source, o.user_id, o.gone, (case when d.large then o.data - '{raw_user_meta_data,raw_app_meta_data}'::text[] else o.data end)::text, d.large, o.at
from (
  select o.*, coalesce(pg_catalog.sum(o.size)
    over (order by o.id rows between unbounded preceding and 1 preceding), 0::numeric)::bigint as bytes_before
  from (
    select o.id, o.source, o.user_id, o.gone, o.at, case when o.source <> all ($5::text[]) then o.data end as data,
      case when o.source <> all ($5::text[]) then 8::bigint * pg_catalog.pg_column_size(o.data) else 0::bigint end as size
    from (
      (select id, source, user_id, gone, data, at
       from rollcall.outbox
       where source = any($1::text[]) and id not in (select e from pg_catalog.unnest($4::bigint[]) e) -- by a hash, whatever the estimate
       order by id limit $2)%[1]s
    ) o
    order by o.id limit $2
  ) o
) o
cross join lateral (
  select o.size > 8::bigint * $6::bigint or coalesce(pg_catalog.pg_column_size(o.data #> '{}'::text[]) > $6::bigint, false) as large
  offset 0
) d
where o.bytes_before <= $3::bigint - 1::bigint
order by o.id

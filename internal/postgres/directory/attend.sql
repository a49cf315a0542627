-- Notes rows of the source $1 that a list has shown ($2, their ids) in a table (%[1]s), and
-- reads the rows (%[2]s) of a roll (%[3]s) with the same ids, in their order. $3 is the moment of the list. %[4]s
-- is since when a row u is known as it is.
with noted as (
  insert into %[1]s (source, id) select $1, id from pg_catalog.unnest($2::text[]) id on conflict do nothing
)
select i.id, null::text, r.*, $3::timestamptz
from pg_catalog.unnest($2::text[]) with ordinality as i (id, n)
left join lateral (
  select version, %[2]s, %[4]s, kept from %[3]s u where u.source = $1 and u.id = i.id collate "C"
  offset 0
) r on true
order by i.n

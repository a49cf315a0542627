-- The transitions that are noted of a user ($1 source, $2 id) and of their memberships, and an id below those of all
-- that are noted later. Transactions that are under way have ids already: a hundred thousand are more than they can have.
select array(select t.id from rollcall.transitions t where t.source = $1 and t.user_id = $2),
  coalesce((select pg_catalog.max(t.id) from rollcall.transitions t), 0) - 100000

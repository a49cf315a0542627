-- Takes the bodies of this transaction's events ($1 sources, $2 ids, $3 users) that are about users who were erased.
select rollcall.take_bodies($1, $2, $3) where exists (select from rollcall.erased)

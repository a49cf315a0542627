-- Takes the bodies out of this transaction's events ($1 sources, $2 ids, $3 users) about users who were erased. Without
-- such users the function is not called, and costs nothing.
select rollcall.take_bodies($1, $2, $3) where exists (select from rollcall.erased)

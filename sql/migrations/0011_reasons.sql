-- Users of whom a reconciliation found nothing but the moment of a change or a sign-in to differ.
alter table rollcall.reconciliations add column touched bigint not null default 0;

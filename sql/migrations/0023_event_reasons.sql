-- What the rules about sign-ups have decided about an announced user; null without such rules.
alter table rollcall.events add column reason text;

comment on table rollcall.replicas is 'The replicas of rollcall serve. One that has not noted itself for 20 seconds is gone: others take its jobs over.';

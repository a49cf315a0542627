update "Member" set role = 'OWNER';

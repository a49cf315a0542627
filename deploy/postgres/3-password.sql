-- psql takes the password from the environment, so that no file holds it.
\getenv password ROLLCALL_DB_PASSWORD
alter role rollcall password :'password';

-- What rollcall.yaml replaces: every sign-up waits for this, and fails with it.
create function public.handle_new_user() returns trigger
language plpgsql security definer set search_path = '' as $$
begin
  insert into public.profiles (id, first_name, last_name, role)
  values (new.id, new.raw_user_meta_data->>'first_name', new.raw_user_meta_data->>'last_name', 'customer');

  insert into deadstock.users (id, email, full_name, role, avatar_url)
  values (new.id, new.email, coalesce(new.raw_user_meta_data->>'full_name', ''), 'free',
          nullif(new.raw_user_meta_data->>'avatar_url', ''))
  on conflict (id) do update set email = excluded.email;

  return new;
end
$$;

create trigger on_auth_user_created after insert on auth.users
for each row execute function public.handle_new_user();

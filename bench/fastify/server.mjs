// A Clerk webhook handler as people write it: verifyWebhook, then two upserts in a
// transaction. One process, a pool, named (prepared) statements, no log.
import { verifyWebhook } from '@clerk/backend/webhooks'
import Fastify from 'fastify'
import pg from 'pg'

const env = (name) => {
  if (!process.env[name]) throw new Error(`set ${name}`)
  return process.env[name]
}
const [host, port] = env('LISTEN').split(':')
const signingSecret = env('CLERK_WEBHOOK_SIGNING_SECRET')
const pool = new pg.Pool({ connectionString: env('DATABASE_URL'), max: Number(env('POOL')) })

const upsertProfile = {
  name: 'profile',
  text: `insert into public.profiles as t (id, email, first_name, last_name, role) values ($1, $2, $3, $4, 'customer')
on conflict (id) do update set email = excluded.email where t.email is distinct from excluded.email`,
}
const upsertDeadstock = {
  name: 'deadstock',
  text: `insert into deadstock.users as t (id, email, full_name, role, avatar_url) values ($1, $2, $3, 'free', $4)
on conflict (id) do update set email = excluded.email where t.email is distinct from excluded.email`,
}

async function write(user) {
  const email = user.email_addresses.find((e) => e.id === user.primary_email_address_id)?.email_address ?? null
  const fullName = [user.first_name, user.last_name].filter(Boolean).join(' ')
  const client = await pool.connect()
  try {
    await client.query('begin')
    await client.query({ ...upsertProfile, values: [user.id, email, user.first_name, user.last_name] })
    await client.query({ ...upsertDeadstock, values: [user.id, email, fullName, user.image_url || null] })
    await client.query('commit')
  } catch (error) {
    await client.query('rollback')
    throw error
  } finally {
    client.release()
  }
}

const app = Fastify({ logger: false })
app.addContentTypeParser('application/json', { parseAs: 'string' }, (_request, body, done) => done(null, body))
app.post('/webhooks/clerk', async (request, reply) => {
  let event
  try {
    event = await verifyWebhook(
      new Request('http://localhost/webhooks/clerk', { method: 'POST', headers: request.headers, body: request.body }),
      { signingSecret },
    )
  } catch {
    return reply.code(401).send()
  }
  if (event.type === 'user.created' || event.type === 'user.updated') await write(event.data)
  return reply.code(204).send()
})
app.get('/readyz', async (_request, reply) => {
  await pool.query('select 1')
  return reply.code(200).send()
})
await app.listen({ host, port: Number(port) })
process.on('SIGTERM', () => process.exit(0))

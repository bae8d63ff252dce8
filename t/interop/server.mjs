// Starts the two programs that t/interop/interop.t speaks to, each through its own module
// API, on free ports of the loopback: emulate as Slack, aimock as OpenAI.
//
//   node server.mjs SPEC ADDRESSES
//
// SPEC is a JSON file: { bot_token, scopes, members: [{ name, token }], channel,
// answers: [{ about, json }] }. A request to the model whose data contains `about` gets
// `json`; any other gets none. When both listen, ADDRESSES is written: { slack, openai }.
// The packages are found from the working directory, since they are installed elsewhere.

import { readFileSync, renameSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { pathToFileURL } from 'node:url'

const require = createRequire(`${process.cwd()}/`)
const load = async (name) => import(pathToFileURL(resolve(name)))

// emulate exports for import only, so require.resolve cannot see its entry.
function resolve(name) {
    try {
        return require.resolve(name)
    } catch {
        const dir = `${process.cwd()}/node_modules/${name}`
        return `${dir}/${JSON.parse(readFileSync(`${dir}/package.json`)).main}`
    }
}

const [specFile, addressesFile] = process.argv.slice(2)
const spec = JSON.parse(readFileSync(specFile))
const { createEmulator } = await load('emulate')
const { LLMock } = await load('@copilotkit/aimock')

const bot = { bot_id: 'B0STUDY', bot_user_id: 'U0STUDYBOT', app_id: 'A0STUDY' }
const slack = await createEmulator({
    service: 'slack',
    port: 0,
    seed: {
        slack: {
            team: { name: 'Study group', domain: 'study-group' },
            users: spec.members.map(({ name }) => ({ name, real_name: name })),
            channels: [{ name: spec.channel }],
            oauth_apps: [{
                ...bot, client_id: '1.2', client_secret: 'none', name: 'Study Tracker', bot_name: 'studytracker',
                redirect_uris: [], scopes: spec.scopes,
            }],
            tokens: [
                { ...bot, token: spec.bot_token, type: 'bot', user_id: bot.bot_user_id, scopes: spec.scopes },
                ...spec.members.map(({ name, token }) => ({ token, type: 'user', user: name })),
            ],
            strict_scopes: true,
        },
    },
})

const openai = new LLMock({ port: 0, host: '127.0.0.1', strict: true })
for (const { about, json } of spec.answers) {
    openai.on({ userMessage: about, responseFormat: 'json_schema' }, { content: JSON.stringify(json) })
}
await openai.start()

// The name in emulate's own URL may lead to IPv6, where it does not listen.
const loopback = (url) => url.replace('localhost', '127.0.0.1')
writeFileSync(`${addressesFile}.new`, JSON.stringify({ slack: loopback(slack.url), openai: loopback(openai.url) }))
renameSync(`${addressesFile}.new`, addressesFile)

for (const signal of ['SIGTERM', 'SIGINT']) {
    process.on(signal, async () => {
        await Promise.allSettled([slack.close(), openai.stop()])
        process.exit(0)
    })
}

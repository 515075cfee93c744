// A game of two GTP engines, and what GUIs ask besides, through Sabaki's own client library (npm: @sabaki/gtp).
// node sabaki_client.js LIBRARY SIZE '["our","command"]' '["other","command"]'; prints one JSON object.

const [library, size, ours, theirs] = process.argv.slice(2)
const {Controller} = require(library)

const controller = words => new Controller(words[0], words.slice(1))
const engines = [controller(JSON.parse(ours)), controller(JSON.parse(theirs))]
const complaints = []
engines[0].on('stderr', ({content}) => complaints.push(content))

let id = 0
async function ask(engine, name, ...args) {
  const {id: answered, content, error} = await engine.sendCommand({id: ++id, name, args: args.map(String)})
  if (answered !== id) throw new Error(`${name}: asked as ${id}, answered as ${answered}`)
  if (error) throw new Error(`${name} ${args.join(' ')}: ${content}`)
  return content
}

async function analysed(engine) {
  const lines = []
  let enough
  const second = new Promise(resolve => (enough = resolve))
  const analysis = engine.sendCommand({name: 'lz-analyze', args: ['b', '10']}, ({line}) => {
    if (line.startsWith('info') && lines.push(line) === 2) enough()
  })
  await second
  const next = ask(engine, 'name') // ends the analysis
  const {error} = await analysis
  return {lines, error, next: await next}
}

async function main() {
  for (const engine of engines) {
    engine.start()
    await ask(engine, 'boardsize', size)
    await ask(engine, 'clear_board')
    await ask(engine, 'komi', 6.5)
  }
  const result = {commands: (await ask(engines[0], 'list_commands')).split('\n'), analysis: await analysed(engines[0])}
  const refused = await engines[0].sendCommand({id: 9999, name: 'boardsize', args: ['1000']})
  result.refused = [refused.id, refused.error, refused.content]
  const moves = []
  let passes = 0
  while (passes < 2 && moves.length < 3 * size * size) {
    const turn = moves.length % 2
    const colour = 'bw'[turn]
    const move = await ask(engines[turn], 'genmove', colour)
    moves.push(move)
    if (move === 'resign') break
    passes = move.toLowerCase() === 'pass' ? passes + 1 : 0
    await ask(engines[1 - turn], 'play', colour, move)
  }
  result.moves = moves
  result.board = await ask(engines[0], 'showboard')
  result.scores = [await ask(engines[0], 'final_score'), await ask(engines[1], 'final_score')]
  for (const engine of engines) await engine.stop()
  console.log(JSON.stringify({...result, complaints}))
}

main().catch(error => {
  console.error(error)
  for (const engine of engines) engine.kill()
  process.exitCode = 1
})

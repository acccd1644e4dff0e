// Upload a file with tus-js-client: node tus_js.cjs ENDPOINT FILE OPTIONS. It prints the URL of the upload.
const fs = require('node:fs')
const path = require('node:path')
const { PassThrough } = require('node:stream')
const tus = require(path.join(process.env.STEELYARD_TUS_JS, 'node_modules', 'tus-js-client'))

const [endpoint, file, options] = process.argv.slice(2)
const { isStream, ...more } = JSON.parse(options)
const reading = fs.createReadStream(file)
const input = isStream ? reading.pipe(new PassThrough()) : reading

const upload = new tus.Upload(input, {
  endpoint,
  metadata: { filename: path.basename(file) },
  retryDelays: new Array(40).fill(100),
  ...(isStream ? {} : { uploadSize: fs.statSync(file).size }),
  ...more,
  onProgress: (sent) => { if (process.env.SHOW_PROGRESS) fs.writeSync(2, `${sent}\n`) },
  onError: (error) => { console.error(String(error)); process.exit(1) },
  onSuccess: () => { console.log(upload.url) },
})
upload.start()

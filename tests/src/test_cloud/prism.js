// prism.js : Stoplight's Prism as judge between those who ask and a provider. For every line on stdin, a JSON
// object of `specification` (a file) and `upstream` (a URL), it opens a proxy and writes its URL on stdout.
// All of them share one process and one reading of a document, and end with stdin.
'use strict';

// The mock answers are made by it, and proxies give none: to load it takes longer than everything else.
const faker = require.resolve('@faker-js/faker');
require.cache[faker] = { id: faker, filename: faker, loaded: true, exports: {} };

// A schema that does not compile, Prism takes for one that allows everything.
const Ajv = require('ajv/dist/core').default;
const { compile } = Ajv.prototype;
Ajv.prototype.compile = function compileOrEnd(...given) {
  try {
    return compile.apply(this, given);
  } catch (error) {
    console.error(error);
    return process.exit(1);
  }
};

const { createInterface } = require('readline');
const { createLogger } = require('@stoplight/prism-core');
const { getHttpOperationsFromSpec } = require('@stoplight/prism-http');
const { validateInput } = require('@stoplight/prism-http/dist/validator');
const { createServer } = require('@stoplight/prism-http-server');
const { DiagnosticSeverity } = require('@stoplight/types');
const { left, isLeft } = require('fp-ts/Either');

// What a document does not name, OpenAPI allows and a provider ignores: a misspelt filter would list everything,
// and a misspelt field order the default. The judge allows neither.
function closed(schema, part = false) {
  if (schema === null || typeof schema !== 'object') return schema;
  const copy = { ...schema };
  for (const key of ['allOf', 'anyOf', 'oneOf']) {
    if (schema[key]) copy[key] = schema[key].map(one => closed(one, true));
  }
  for (const key of ['items', 'additionalProperties']) {
    if (schema[key]) copy[key] = closed(schema[key]);
  }
  if (schema.properties) {
    const entries = Object.entries(schema.properties);
    copy.properties = Object.fromEntries(entries.map(([name, property]) => [name, closed(property)]));
  }
  const names = one => one.properties || [...(one.allOf ?? []), ...(one.anyOf ?? []), ...(one.oneOf ?? [])].some(names);
  if (!part && schema.additionalProperties === undefined && names(schema)) copy.unevaluatedProperties = false;
  return copy;
}

function close(contents) {
  for (const content of contents ?? []) {
    content.schema = { ...closed(content.schema), $schema: 'https://json-schema.org/draft/2019-09/schema' };
  }
}

function validateStrictly(given) {
  const known = new Set((given.resource.request?.query ?? []).map(parameter => parameter.name));
  const unknown = Object.keys(given.element.url.query ?? {}).filter(name => !known.has(name));
  const judged = validateInput(given);
  if (unknown.length === 0) return judged;
  const diagnostics = unknown.map(name => ({
    path: ['query', name],
    code: 'unknown',
    message: `Request query parameter ${name} is unknown`,
    severity: DiagnosticSeverity.Error,
  }));
  return left([...diagnostics, ...(isLeft(judged) ? judged.left : [])]);
}

async function read(specification) {
  const operations = await getHttpOperationsFromSpec(specification);
  for (const { request, responses } of operations) {
    close(request?.body?.contents);
    responses.forEach(response => close(response.contents));
  }
  return operations;
}

const documents = new Map();

async function open({ specification, upstream }) {
  if (!documents.has(specification)) documents.set(specification, read(specification));
  const server = createServer(await documents.get(specification), {
    cors: false,
    config: {
      isProxy: true,
      upstream: new URL(upstream),
      validateRequest: true,
      validateResponse: true,
      checkSecurity: true,
      errors: true,
      mock: {},
    },
    components: { logger: createLogger('PRISM', { level: 'silent' }), validateInput: validateStrictly },
  });
  return server.listen(0, '127.0.0.1');
}

async function main() {
  for await (const line of createInterface({ input: process.stdin })) {
    console.log(await open(JSON.parse(line)));
  }
  process.exit(0);
}

main().catch(error => {
  console.error(error);
  process.exit(1);
});

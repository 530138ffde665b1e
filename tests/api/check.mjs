// Judges api/openapi.yaml, and recorded messages by it, with programs that are not ours.
//
//     node check.mjs DOCUMENT [RECORD]
//
// RECORD has a JSON object a line, as tests/api/record writes it.  A line "ok - ..." or "not ok - ..." for each test,
// then "N passed, N failed, N skipped".  Run from a folder with node_modules beside this file (tests/api/run).
import { readFileSync } from 'node:fs';
import { Validator } from '@seriousme/openapi-schema-validator';
import Ajv2020 from 'ajv/dist/2020.js';
import addFormats from 'ajv-formats';
import { parse } from 'yaml';

const METHODS = ['get', 'put', 'patch', 'delete', 'post', 'head', 'options', 'trace'];
const counts = { passed: 0, failed: 0 };

function report(name, problems, notes = []) {
	for (const line of [...notes, ...problems]) console.log(`# ${line}`);
	console.log(`${problems.length ? 'not ok' : 'ok'} - ${name}`);
	counts[problems.length ? 'failed' : 'passed']++;
}

// Keywords are checked strictly, so that a word that means nothing is found here.
function newAjv(words) {
	const ajv = new Ajv2020({ strict: true, strictTypes: false, strictRequired: false, allErrors: true });
	addFormats(ajv);
	ajv.addVocabulary(words);
	return ajv;
}

const escapePointer = (part) => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'));
const pointer = (...parts) => `openapi#/${parts.map(escapePointer).join('/')}`;
const brief = (errors) => errors.slice(0, 4).map((e) => `${e.instancePath || '/'} ${e.message}`).join('; ');

// --- the document ---

class Document {
	constructor(file) {
		this.text = readFileSync(file, 'utf8');
		this.tree = parse(this.text);
		// The document as a whole is no schema, but the parts refer to each other through it.
		this.ajv = newAjv(['example', ...Object.keys(this.tree)]);
		this.ajv.addSchema({ $id: 'openapi', ...this.tree });
		this.compiled = new Map();
	}

	operations() {
		const found = [];
		for (const [path, item] of Object.entries(this.tree.paths))
			for (const method of METHODS)
				if (item[method]) found.push({ path, method, item, ...this.parts(path, method) });
		return found;
	}

	parts(path, method) {
		return { key: `${method.toUpperCase()} ${path}`, op: this.tree.paths[path][method] };
	}

	// {value, at}: what a chain of $ref ends in, and where that is.
	follow(...at) {
		let value = at.reduce((tree, part) => tree?.[part], this.tree);
		while (value?.$ref?.startsWith('#/')) {
			at = value.$ref.slice(2).split('/').map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
			value = at.reduce((tree, part) => tree?.[part], this.tree);
		}
		return { value, at };
	}

	schema(...at) {
		const ref = pointer(...at);
		if (!this.compiled.has(ref)) this.compiled.set(ref, this.ajv.compile({ $ref: ref }));
		return this.compiled.get(ref);
	}

	// As the server reads a path: slashes in front do not count, nor does what follows a complete path.
	operation(method, target) {
		const parts = target.split('?')[0].replace(/^\/+/, '').split('/');
		let best = null;
		for (const candidate of this.operations()) {
			if (candidate.method !== method.toLowerCase()) continue;
			const want = candidate.path.slice(1).split('/');
			const fits = want.every((part, i) => part === parts[i] || (part.startsWith('{') && parts[i]));
			if (fits && (!best || want.length > best.length)) best = { ...candidate, length: want.length };
		}
		return best;
	}

	isAbsent(method, target) {
		const parts = target.split('?')[0].replace(/^\/+/, '').split('/');
		return this.tree['x-absent'].some((line) => {
			const [m, p] = line.split(' ');
			const want = p.slice(1).split('/');
			return m === method && want.every((part, i) => part === parts[i] || (part === '{id}' && parts[i]));
		});
	}
}

function examplesOf(media) {
	const named = Object.values(media.examples ?? {}).map((example) => example.value);
	return media.example === undefined ? named : [media.example, ...named];
}

async function checkDocument(doc) {
	const validator = new Validator();
	const result = await validator.validate(doc.text);
	report('the document is OpenAPI 3.1', result.valid ? [] : [JSON.stringify(result.errors).slice(0, 2000)],
		[`version ${validator.version}, ${doc.operations().length} operations`]);

	const problems = [], ids = new Set();
	let schemas = 0, examples = 0;
	const compile = (...at) => {
		schemas++;
		try {
			return doc.schema(...at);
		} catch (e) {
			problems.push(`${at.join('/')}: ${e.message}`);
		}
	};
	const checkMedia = (content, at) => {
		for (const [type, media] of Object.entries(content ?? {})) {
			if (!media.schema) continue;
			const validate = compile(...at, 'content', type, 'schema');
			for (const value of examplesOf(media)) {
				examples++;
				if (validate && !validate(value)) problems.push(`${at.join('/')}: the example: ${brief(validate.errors)}`);
			}
		}
	};
	for (const name of Object.keys(doc.tree.components.schemas)) compile('components', 'schemas', name);
	for (const { path, method, key, op } of doc.operations()) {
		if (ids.has(op.operationId)) problems.push(`${key}: operationId ${op.operationId} is there twice`);
		ids.add(op.operationId);
		checkMedia(op.requestBody?.content, ['paths', path, method, 'requestBody']);
		for (const status of Object.keys(op.responses)) {
			const { value, at } = doc.follow('paths', path, method, 'responses', status);
			checkMedia(value.content, at);
		}
		for (const status of ['400', '503'])
			if (!op.responses[status]) problems.push(`${key}: no answer ${status}`);
		if (!op['x-phases']?.length) problems.push(`${key}: no x-phases`);
		if (!op.summary) problems.push(`${key}: no summary`);
	}
	report('every schema of the document is JSON Schema 2020-12, every example fits', problems,
		[`${schemas} schemas, ${examples} examples`]);
}

// --- recorded messages ---

function jsonOrNothing(text) {
	try {
		return { value: JSON.parse(text) };
	} catch {
		return null;
	}
}

// Does the request fit the document?  Body, path and query.
function requestFits(doc, found, entry) {
	const { path, method, op, item } = found;
	const want = path.slice(1).split('/');
	const [route, query] = entry.path.split('?');
	const parts = route.replace(/^\/+/, '').split('/');
	const params = [...(item.parameters ?? []).map((_, i) => ['paths', path, 'parameters', String(i)]),
		...(op.parameters ?? []).map((_, i) => ['paths', path, method, 'parameters', String(i)])];
	for (const where of params) {
		const { value, at } = doc.follow(...where);
		const text = value.in === 'path' ? decodeURIComponent(parts[want.indexOf(`{${value.name}}`)])
			: new URLSearchParams(query ?? '').get(value.name);
		if (text === null) continue;
		const type = value.schema.type;
		const typed = type === 'string' || !type ? text : (jsonOrNothing(text)?.value ?? text);
		const validate = doc.schema(...at, 'schema');
		if (!validate(typed)) return `${value.name}: ${brief(validate.errors)}`;
	}
	if (!op.requestBody) return entry.request ? 'there is a body' : '';
	if (!entry.request) return 'there is no body';
	const json = jsonOrNothing(entry.request);
	if (!json) return 'the body is not JSON';
	const validate = doc.schema('paths', path, method, 'requestBody', 'content', 'application/json', 'schema');
	return validate(json.value) ? '' : brief(validate.errors);
}

function checkBody(doc, at, media, entry) {
	if (!media.schema) return [];
	const validate = doc.schema(...at, 'schema');
	const check = (value) => (validate(value) ? [] : [`the body of the answer: ${brief(validate.errors)}`]);
	const type = at.at(-1);
	if (!type.includes('json')) return check(entry.body);
	const lines = type === 'application/x-ndjson' ? entry.body.split('\n').filter((line) => line) : [entry.body];
	return lines.flatMap((line) => {
		const json = jsonOrNothing(line);
		return json ? check(json.value) : [`not JSON: ${line.slice(0, 200)}`];
	});
}

function checkResponse(doc, found, entry) {
	const { value: response, at } = doc.follow('paths', found.path, found.method, 'responses', String(entry.status));
	if (!response) return [`status ${entry.status} is not documented`];
	const problems = [];
	if ('deprecation' in entry.headers) {
		const header = response.headers?.Deprecation && doc.follow(...at, 'headers', 'Deprecation');
		if (!header) problems.push('a Deprecation header that is not documented');
		else if (!doc.schema(...header.at, 'schema')(entry.headers.deprecation)) problems.push('another Deprecation header');
	}
	const type = entry.headers['content-type']?.split(';')[0];
	if (!response.content) {
		if (entry.body) problems.push('a body that is not documented');
		if (type) problems.push(`a content type without a body: ${type}`);
		return problems;
	}
	const media = response.content[type];
	if (!media) return [...problems, `the content type ${type} is not documented`];
	return [...problems, ...checkBody(doc, [...at, 'content', type], media, entry)];
}

function checkPhase(found, entry) {
	const action = jsonOrNothing(entry.request ?? '')?.value?.action_type;
	const phases = found.op['x-phases-by-action']?.[action] ?? found.op['x-phases'];
	const allowed = phases.includes(entry.phase);
	const ok = entry.status < 300;
	if (ok && !allowed) return [`allowed while ${entry.phase}, which the document does not say`];
	if (!ok && allowed && /not supported (before|after) /.test(entry.body)) return [`refused while ${entry.phase}`];
	return [];
}

function checkEntry(doc, entry) {
	const found = doc.operation(entry.method, entry.path);
	if (!found) {
		if (entry.expect !== 'unknown' && !doc.isAbsent(entry.method, entry.path)) return ['the document does not have it'];
		const validate = doc.schema('components', 'schemas', 'FaultMessage');
		return entry.status === 400 && validate(jsonOrNothing(entry.body)?.value) ? [] : [`status ${entry.status}: ${entry.body}`];
	}
	if (entry.expect === 'unknown') return ['the document has it'];
	const problems = [...checkResponse(doc, found, entry), ...checkPhase(found, entry)];
	const why = requestFits(doc, found, entry);
	const ok = entry.status < 300;
	const parsed = !/error occurred when deserializing/.test(entry.body);
	// "unseen": wrong in a way that a schema cannot tell, such as a field that is there twice.
	if (ok && why) problems.push(`done, but the document refuses the request: ${why}`);
	if (!ok && !parsed && !why && entry.expect !== 'unseen') problems.push(`refused for its form, which fits: ${entry.body}`);
	if (entry.expect === 'done' && !ok) problems.push(`status ${entry.status}: ${entry.body}`);
	if (entry.expect === 'refused' && ok) problems.push('done, and should be refused');
	if (entry.expect === 'unseen' && ok) problems.push('done, and should be refused');
	if (entry.expect === 'form' && (ok || !why)) problems.push(ok ? 'done, and should be refused' : 'fits the document');
	if (entry.expect === 'fits' && why) problems.push(`does not fit: ${why}`);
	return problems;
}

// Which operations and fields were seen to work and to be refused.
function checkCoverage(doc, entries, started) {
	const seen = new Map();
	for (const entry of entries) {
		const found = doc.operation(entry.method, entry.path);
		if (!found || entry.expect === 'unknown') continue;
		const at = seen.get(found.key) ?? seen.set(found.key, { done: 0, refused: 0, fields: new Set() }).get(found.key);
		at[entry.status < 300 ? 'done' : 'refused']++;
		if (entry.status < 300 && entry.request) Object.keys(JSON.parse(entry.request)).forEach((f) => at.fields.add(f));
	}
	const problems = [], notes = [];
	for (const { path, method, key, op } of doc.operations()) {
		const at = seen.get(key) ?? { done: 0, refused: 0, fields: new Set() };
		const early = op['x-phases'].includes('not-started');
		const content = op.requestBody && doc.follow('paths', path, method, 'requestBody', 'content', 'application/json', 'schema');
		const fields = Object.keys(content?.value.properties ?? {});
		notes.push(`${key}: ${at.done} done, ${at.refused} refused${fields.length ? `, ${at.fields.size} of ${fields.length} fields` : ''}`);
		if (!at.refused && (early || started)) problems.push(`${key} was never refused`);
		const works = Object.keys(op.responses).some((status) => status < '300');
		if (works && !at.done && (early || started)) problems.push(`${key} was never done`);
	}
	report('every operation was seen to work and to refuse', problems, notes);
}

function checkRecord(doc, file) {
	const entries = readFileSync(file, 'utf8').split('\n').filter((line) => line).map((line) => JSON.parse(line));
	const groups = new Map();
	for (const entry of entries) {
		const name = doc.operation(entry.method, entry.path)?.key ?? 'paths that mvm does not have';
		(groups.get(name) ?? groups.set(name, []).get(name)).push(entry);
	}
	for (const [name, group] of groups) {
		const problems = group.flatMap((entry) => checkEntry(doc, entry).map((problem) =>
			`${entry.phase}: ${entry.method} ${entry.path} ${(entry.request ?? '').slice(0, 160)} -> ${entry.status}: ${problem}`));
		report(`${name}: ${group.length} recorded messages fit the document`, problems.slice(0, 20));
	}
	checkCoverage(doc, entries, entries.some((entry) => entry.phase === 'running'));
}

const [file, record] = process.argv.slice(2);
const doc = new Document(file);
await checkDocument(doc);
if (record) checkRecord(doc, record);
console.log(`${counts.passed} passed, ${counts.failed} failed, 0 skipped`);
process.exitCode = counts.failed ? 1 : 0;

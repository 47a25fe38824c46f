import type { ConnectorType } from '../connectors/connector.ts';
import { findConnectorType } from '../connectors/index.ts';
import { MillraceError } from '../core/errors.ts';
import type { CheckReport, Connector } from '../core/model.ts';
import { suggestion } from '../core/nearest.ts';
import { validate } from '../core/validate.ts';
import type { ConnectorRecord } from '../store/store.ts';
import { isSecretField, mapStrings, stringsOf } from '../vault/config-strings.ts';
import type { SealedConfig } from '../vault/secret-tools.ts';
import { auditTyped, openQuestion } from './ask-person.ts';
import { ask, assertMay, type Context } from './context.ts';
import { assertSameHosts } from './fit.ts';
import type { Caller, Rotated, SecretService } from './services.ts';

/** Credentials of connectors that are already registered. */
export function createSecretService(context: Context): SecretService {
  return {
    async rotate(request, caller, signal) {
      assertMay(context, caller, 'admin');
      const candidate = await prepare(context, request);
      if (candidate.sealed.asked.length > 0) return await askPerson(context, { request, candidate, caller });
      return await switchTo(context, { request, candidate, caller }, signal);
    },
  };
}

type Request = Parameters<SecretService['rotate']>[0];

/** The connector as it would be with the new credential. */
interface Candidate {
  readonly before: ConnectorRecord;
  /** References and literals as they were given, for the test. */
  readonly config: Connector['config'];
  readonly sealed: SealedConfig;
}

interface Rotating {
  readonly request: Request;
  readonly candidate: Candidate;
  readonly caller: Caller;
}

/** Refuses, or says what is missing, before anything is asked of the source. */
async function prepare(context: Context, { connector, field, value }: Request): Promise<Candidate> {
  const before = await context.connectors.get(connector);
  const type = findConnectorType(before.type);
  assertSecretField(before, field, type);
  const config = mapStrings(before.config, (text, path) => (path === field ? value : text));
  validate(type.config, config, `The ${type.type} config`);
  const given = mapStrings(before.config, (_, path) => (path === field ? value : ''));
  assertSameHosts(type, { before: before.config, after: config, given });
  return { before, config, sealed: await context.secrets.seal(before.name, config, type.secrets) };
}

async function switchTo(
  context: Context,
  { request, candidate, caller }: Rotating,
  signal: AbortSignal,
): Promise<Rotated & { readonly test: CheckReport }> {
  const { before, config, sealed } = candidate;
  const { warnings } = sealed;
  const question = { ask: 'check', streams: before.streams } as const;
  const test = await ask(context, { connector: { ...before, config }, question }, signal);
  if (!test.ok) return { rotated: false, test, warnings };
  const kept = await context.connectors.update({ ...before, config: sealed.config }, sealed.sealed, before);
  // Somebody changed the connector during the test: what was tested is no longer what it is.
  if (kept === null) {
    const again = await prepare(context, request);
    return await switchTo(context, { request, candidate: again, caller }, signal);
  }
  await context.audit.append({
    actor: caller.actor,
    action: 'rotate_secret',
    subject: before.name,
    detail: { field: request.field },
  });
  return { rotated: true, test, warnings };
}

/** The same with what a person types, on a page that says how it went. */
async function askPerson(context: Context, { request, candidate, caller }: Rotating): Promise<Rotated> {
  const { before, sealed } = candidate;
  const asking = await openQuestion(context, {
    connector: before,
    fields: sealed.asked.map(({ field }) => field),
    afterwards: `test_connector {"connector": "${before.name}"} shows that it works; the page tests what was typed, and until that works the old one stays`,
    async onTyped(typed, current, signal) {
      const knowing = { ...context, secrets: context.secrets.knowing(typed) };
      const again = { request, candidate: await prepare(knowing, request), caller };
      const { rotated, test } = await switchTo(knowing, again, signal);
      await auditTyped(context, current.name, { fields: [...typed.keys()], kept: rotated });
      if (rotated) return { done: true, words: 'It works, and has taken the place of the old one.' };
      const reason = test.error === undefined ? '' : ` ${test.error.message} ${test.error.hint}`;
      return { done: false, words: `It does not work, so the old one stays.${reason}` };
    },
  });
  return { rotated: false, ask: asking, warnings: sealed.warnings };
}

/** Throws `invalid_config` unless the config holds a credential there. */
function assertSecretField(connector: Connector, field: string, type: ConnectorType): void {
  const fields = stringsOf(connector.config)
    .filter(({ path, text }) => text !== '' && isSecretField(path, type.secrets))
    .map(({ path }) => path);
  if (fields.includes(field)) return;
  throw new MillraceError(
    'invalid_config',
    `"${connector.name}" has no credential at "${field.slice(0, 100)}".`,
    {
      hint:
        fields.length === 0
          ? 'Its config holds none; update_connector gives it one.'
          : `${suggestion(field, fields)} Its credentials: ${fields.map((path) => `"${path}"`).join(', ')}.`,
      nextActions: [
        {
          tool: 'get_connector',
          arguments: { connector: connector.name },
          why: 'shows where its credentials stand',
        },
      ],
    },
  );
}

import { findConnectorType } from '../connectors/index.ts';
import { MillraceError, type NextAction } from '../core/errors.ts';
import type { Connector } from '../core/model.ts';
import { MASK } from '../core/redact.ts';
import { type AskedSecret, isAsking } from '../vault/asked.ts';
import { stringsOf } from '../vault/config-strings.ts';
import type { Typed } from '../vault/secret-tools.ts';
import { type Context, shownConnector, type Typing } from './context.ts';
import type { AskView } from './services.ts';

/** What a reply carries while a person is asked. */
export interface Asking {
  readonly ask: AskView;
  readonly warnings: readonly string[];
  readonly nextActions: readonly NextAction[];
}

/** Opens a page for what the config of a stored connector asks for; null when that is nothing. */
export async function askForSecrets(
  context: Context,
  connector: Connector,
  asked: readonly AskedSecret[],
): Promise<Asking | null> {
  if (asked.length === 0) return null;
  const { name } = connector;
  const fields = asked.map(({ field }) => field);
  const action = { tool: 'test_connector', arguments: { connector: name } };
  const ask = await openQuestion(context, {
    connector,
    fields,
    afterwards: `call test_connector {"connector": "${name}"}`,
    onTyped: (typed, current) => keepTyped(context, { connector: current, asked, typed }),
  });
  return {
    ask,
    warnings: [
      `Not tested yet: ${quoted(fields)} ${fields.length === 1 ? 'has' : 'have'} still to be typed.`,
    ],
    nextActions: [{ ...action, why: 'tests it, once the person has typed at the page of `ask`' }],
  };
}

/** Opens a page whose answer goes to `onTyped`, with the connector as it is by then. */
export async function openQuestion(
  context: Context,
  question: {
    readonly connector: Connector;
    readonly fields: readonly string[];
    /** What the assistant does after it, as the end of a sentence. */
    readonly afterwards: string;
    readonly onTyped: (typed: Typed, current: Connector, signal: AbortSignal) => Promise<Typing>;
  },
): Promise<AskView> {
  const { connector, fields, onTyped } = question;
  const host = hostOf(context, connector);
  const opened = await context.asks.open({
    connector: connector.name,
    type: findConnectorType(connector.type).title,
    host,
    fields,
    async onTyped(typed, signal) {
      const current = await context.connectors.get(connector.name);
      assertSameHost(host, hostOf(context, current));
      return await onTyped(typed, current, signal);
    },
  });
  return {
    url: opened.url,
    fields,
    expires_at: opened.expires_at,
    next_step: `Give the person this link, to be opened on the machine where Millrace runs; they type ${quoted(fields)} there, never here. When they say it is done, ${question.afterwards}.`,
  };
}

/** What the audit log calls it when a person has typed. */
export const typedAction = 'type_secret';

/** Tells the audit log that a person typed, and what came of it; never what. */
export async function auditTyped(
  context: Context,
  connector: string,
  detail: { readonly fields: readonly string[]; readonly kept: boolean },
): Promise<void> {
  await context.audit.append({ actor: 'person', action: typedAction, subject: connector, detail });
}

/** Throws `invalid_config` where nobody would see the answer. */
export function assertAsksNothing({ name, config }: Pick<Connector, 'name' | 'config'>): void {
  const field = stringsOf(config).find(({ text }) => isAsking(text))?.path;
  if (field === undefined) return;
  throw new MillraceError(
    'invalid_config',
    `"${field}" of "${name}" in the config file asks with \${ask}, and nobody would get the link.`,
    {
      hint: `Run \`millrace secret set ${name}\` in a terminal and write "\${secret:${name}}".`,
      who: 'person',
    },
  );
}

async function keepTyped(
  context: Context,
  {
    connector,
    asked,
    typed,
  }: { readonly connector: Connector; readonly asked: readonly AskedSecret[]; readonly typed: Typed },
): Promise<Typing> {
  const fields = await context.secrets.keep(connector.name, connector.config, { asked, typed });
  if (fields.length === 0) throw replaced(connector.name);
  await auditTyped(context, connector.name, { fields, kept: true });
  return {
    done: true,
    words: 'It is sealed and kept. Go back to the conversation and say so: the assistant tests it.',
  };
}

/** Host and port that credentials are sent to, as a person knows them; of addresses with passwords only that. */
function hostOf(context: Context, connector: Connector): string {
  const { boundTo = [] } = findConnectorType(connector.type);
  const shown = stringsOf(shownConnector(context, connector).config);
  const hosts = boundTo.flatMap((path) =>
    shown.filter((one) => one.path === path).map(({ text }) => hostIn(text)),
  );
  return [...new Set(hosts)].join(', ');
}

function hostIn(text: string): string {
  if (text.startsWith(MASK)) return 'the address that is typed here';
  return /^[a-z][a-z0-9+.-]*:\/\/(?:[^/?#]*@)?([^/?#]+)/i.exec(text)?.[1] ?? text;
}

function assertSameHost(was: string, is: string): void {
  if (was === is) return;
  throw new MillraceError('secret_refused', `The connector names another host by now: ${is}, not ${was}.`, {
    hint: 'Nothing was kept. Ask the assistant why, and for a new link if that is right.',
    who: 'person',
  });
}

function replaced(connector: string): MillraceError {
  return new MillraceError(
    'secret_missing',
    `"${connector}" has been changed since, and does not ask for this any more.`,
    {
      hint: 'Nothing was kept. Ask the assistant for a new link.',
    },
  );
}

function quoted(fields: readonly string[]): string {
  return fields.map((field) => `"${field}"`).join(', ');
}

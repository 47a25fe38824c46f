/** What has to agree before a connector is kept: its streams with its type, its secrets with the host they were given for. */

import type { ConnectorType } from '../connectors/connector.ts';
import { MillraceError } from '../core/errors.ts';
import type { Connector, Stream } from '../core/model.ts';
import { isSecretField, stringsOf } from '../vault/config-strings.ts';

const sqlWays = ['table', 'query'] as const;

/** Throws `invalid_config` for a stream that is declared by what this type does not have: a table of an API. */
export function assertStreamsFit(type: ConnectorType, streams: readonly Stream[]): void {
  const ways: readonly ('table' | 'query' | 'path')[] = type.streamsBy ?? sqlWays;
  for (const stream of streams) {
    if (ways.some((way) => stream[way] !== undefined)) continue;
    const wanted = ways.map((way) => `"${way}"`).join(' or ');
    const given = (['table', 'query', 'path'] as const).find((way) => stream[way] !== undefined) ?? 'nothing';
    throw new MillraceError(
      'invalid_config',
      `Stream "${stream.name}" has a "${given}", and streams of a ${type.type} connector have ${wanted}.`,
      { hint: exampleOf(ways.includes('path')) },
    );
  }
  if (!ways.includes('path')) return;
  for (const { name, rest } of streams) {
    const parent = rest?.parent?.stream;
    if (parent === undefined) continue;
    const found = streams.find((stream) => stream.name === parent && parent !== name);
    if (found !== undefined && found.rest?.parent?.stream !== name) continue;
    throw new MillraceError(
      'invalid_config',
      `Stream "${name}" asks once for each row of "${parent}", ${found ? 'which asks for each row of it' : 'and there is no such other stream'}.`,
      {
        hint: 'Declare the parent as a stream of the same connector: {"name": "orders", "path": "/orders"}, and the child with "rest": {"parent": {"stream": "orders", "field": "id", "param": "order_id"}}.',
      },
    );
  }
}

function exampleOf(isApi: boolean): string {
  return isApi
    ? 'Write the path below base_url: {"name": "orders", "path": "/v1/orders"}.'
    : 'Write {"name": "orders", "table": "public.orders"}; discover_streams shows what there is.';
}

/** A change of a connector's config, references in it not filled in. */
export interface ConfigChange {
  readonly before: Connector['config'];
  readonly after: Connector['config'];
  /** What the caller gave, before masks in it were put back. */
  readonly given: Connector['config'];
  /** Whether the connector has ever worked as it was, or a person typed a credential for that host. */
  readonly worked: boolean;
}

/**
 * A secret is bound to the host it was given for. Whoever changes an address that secrets are sent to has to give them again,
 * or a changed `base_url` would carry them to a host of somebody else's choice. Throws `secret_refused`; where the type
 * binds them only once it has worked, returns what a person should know: a warning.
 */
export function assertSecretsBound(type: ConnectorType, change: ConfigChange): readonly string[] {
  const { before, after, given } = change;
  const moved = (type.boundTo ?? []).filter((path) => {
    const [was, is] = [textAt(before, path), textAt(after, path)];
    // An address that was not there is a new one too: credentials kept from before would be sent to it.
    return is !== undefined && (was === undefined || originOf(was) !== originOf(is));
  });
  const [address] = moved;
  if (address === undefined) return [];
  const named = new Map(stringsOf(given).map(({ path, text }) => [path, text]));
  const kept = stringsOf(after)
    .filter(
      ({ path, text }) => text !== '' && (isSecretField(path, type.secrets) || text.includes('${secret:')),
    )
    // A reference to what was sealed for this connector is the same secret, however it is written.
    .filter(({ path, text }) => named.get(path) !== text || /\$\{secret:[^}.]*\./.test(text))
    .map(({ path }) => path);
  if (kept.length === 0) return [];
  const which = kept.map((path) => `"${path}"`).join(', ');
  if (type.boundFrom === 'worked' && !change.worked)
    return [`"${address}" names another host now: ${which} is sent there from now on.`];
  throw new MillraceError(
    'secret_refused',
    `"${address}" names another host than the one that ${which} ${kept.length === 1 ? 'was' : 'were'} registered for.`,
    {
      hint: `Ask the person whether that host may have the credential; then give ${address} and ${top(kept)} together in one update_connector, each secret anew, as a reference such as "\${env:MILLRACE_API_TOKEN}". Nothing was changed.`,
      who: 'person',
    },
  );
}

/**
 * A credential is changed where it stands, and goes where the one before it went. Throws `secret_refused` when the change
 * would name another host, or send there what is kept beside it.
 */
export function assertSameHosts(type: ConnectorType, change: Omit<ConfigChange, 'worked'>): void {
  for (const path of type.boundTo ?? []) {
    const [was, is] = [textAt(change.before, path), textAt(change.after, path)];
    // What is a reference as a whole names its host nowhere that anybody here could see.
    if (was === undefined || is === undefined || !was.includes('://') || !is.includes('://')) continue;
    if (originOf(was) === originOf(is)) continue;
    throw new MillraceError('secret_refused', `The new "${path}" names another host than the one before.`, {
      hint: `rotate_secret changes a credential and leaves the host as it is. To move the connector, give "${path}" with every secret anew to update_connector. Nothing was changed.`,
    });
  }
  assertSecretsBound(type, { ...change, worked: true });
}

function top(paths: readonly string[]): string {
  return [...new Set(paths.map((path) => `"${path.split('.')[0] ?? path}"`))].join(', ');
}

function textAt(config: Connector['config'], path: string): string | undefined {
  return stringsOf(config).find((one) => one.path === path)?.text;
}

/**
 * Scheme, host and port; the whole text where it is no URL. `URL.origin` knows only the web's schemes, and a reference
 * in a URL (its password's, say) may not break it: each stands for a text that only it has.
 */
function originOf(text: string): string {
  const plain = text.replaceAll(/\$\{[^{}]*\}/g, (reference) => `r${Buffer.from(reference).toString('hex')}`);
  const url = plain.includes('://') ? URL.parse(plain) : null;
  return url === null ? text : `${url.protocol}//${url.host}`;
}

import type { ConnectorType } from '../connectors/connector.ts';
import { findConnectorType } from '../connectors/index.ts';
import { MillraceError } from '../core/errors.ts';
import type { Connector } from '../core/model.ts';
import { suggestion } from '../core/nearest.ts';
import { validate } from '../core/validate.ts';
import { isSecretField, mapStrings, stringsOf } from '../vault/config-strings.ts';
import { ask, assertMay, type Context } from './context.ts';
import type { SecretService } from './services.ts';

/** Credentials of connectors that are already registered. */
export function createSecretService(context: Context): SecretService {
  return {
    async rotate(request, caller, signal) {
      assertMay(context, caller, 'admin');
      const before = await context.connectors.get(request.connector);
      const type = findConnectorType(before.type);
      assertSecretField(before, request.field, type);
      const config = mapStrings(before.config, (text, path) =>
        path === request.field ? request.value : text,
      );
      validate(type.config, config, `The ${type.type} config`);
      // Refused, or told to be missing, before anything is asked of the source.
      const sealed = await context.secrets.seal(before.name, config, type.secrets);
      const test = await ask(
        context,
        { connector: { ...before, config }, question: { ask: 'check', streams: before.streams } },
        signal,
      );
      if (!test.ok) return { rotated: false, test, warnings: sealed.warnings };
      await context.connectors.update({ ...before, config: sealed.config }, sealed.sealed);
      await context.audit.append({
        actor: caller.actor,
        action: 'rotate_secret',
        subject: before.name,
        detail: { field: request.field },
      });
      return { rotated: true, test, warnings: sealed.warnings };
    },
  };
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

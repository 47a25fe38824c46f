import { MillraceError } from '../core/errors.ts';
import { suggestion } from '../core/nearest.ts';
import type { ConnectorType } from './connector.ts';
import { mysql } from './mysql/index.ts';
import { postgresql } from './postgresql/index.ts';
import { restApi } from './rest-api/index.ts';

/** Every connector type there is. Adding one means naming it here; nothing registers itself. */
export const connectorTypes: readonly ConnectorType[] = [
  postgresql as ConnectorType,
  mysql as ConnectorType,
  restApi as ConnectorType,
];

/** The type of that name. Throws `invalid_config` that names the nearest known one. */
export function findConnectorType(name: string): ConnectorType {
  const found = connectorTypes.find(({ type }) => type === name);
  if (found) return found;
  throw new MillraceError('invalid_config', `There is no connector type "${name.slice(0, 60)}".`, {
    hint: suggestion(
      name,
      connectorTypes.map(({ type }) => type),
    ),
    nextActions: [{ tool: 'list_connector_types', arguments: {}, why: 'shows the types there are' }],
  });
}

import { z } from 'zod';
import type { ConnectorType } from '../connectors/connector.ts';
import { connectorTypes, findConnectorType } from '../connectors/index.ts';
import { streamSchema } from '../core/schema.ts';
import type { ConnectorTypeView } from './services.ts';

/** The kinds of systems there are; one that is asked for by name with all that registering it needs. */
export function typeViews(type?: string): readonly ConnectorTypeView[] {
  if (type === undefined) return connectorTypes.map(viewOf);
  const found = findConnectorType(type);
  return [
    {
      ...viewOf(found),
      stream_schema: streamSchemaOf(found),
      ...(found.guide === undefined ? {} : { examples: found.guide.examples }),
    },
  ];
}

function viewOf({ type, title, description, config }: ConnectorType): ConnectorTypeView {
  return { type, title, description, config_schema: jsonSchema(config) };
}

type JsonObject = Readonly<Record<string, unknown>>;

const byTable = ['path', 'rest'] as const;
const byPath = ['table', 'query', 'where', 'deletes'] as const;

/** What a stream of this type takes, without what belongs to the others. Pagination is described once, in the config. */
function streamSchemaOf(type: ConnectorType): JsonObject {
  const schema = jsonSchema(streamSchema);
  const isApi = type.streamsBy?.includes('path') ?? false;
  const properties = without(schema['properties'] as JsonObject, isApi ? byPath : byTable);
  if (!isApi) return { ...schema, properties };
  const rest = properties['rest'] as { readonly properties: JsonObject };
  const pagination = { description: 'As "pagination" of the config.' };
  return {
    ...schema,
    properties: { ...properties, rest: { ...rest, properties: { ...rest.properties, pagination } } },
  };
}

function without(fields: JsonObject, names: readonly string[]): JsonObject {
  return Object.fromEntries(Object.entries(fields).filter(([name]) => !names.includes(name)));
}

function jsonSchema(schema: z.ZodType): JsonObject {
  return z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as JsonObject;
}

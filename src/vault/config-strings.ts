import { isSecretName } from '../core/redact.ts';

/** A connector's config as it is kept and shown: plain JSON. */
export type ConfigValues = Readonly<Record<string, unknown>>;

/** The same config with each text replaced; `path` is where it stands: `auth.token`, `headers.X-Key`, `hosts.0`. */
export function mapStrings(
  config: ConfigValues,
  change: (text: string, path: string) => string,
): Record<string, unknown> {
  return mapValue(config, '', change) as Record<string, unknown>;
}

function mapValue(value: unknown, path: string, change: (text: string, path: string) => string): unknown {
  if (typeof value === 'string') return change(value, path);
  if (Array.isArray(value))
    return value.map((item, index) => mapValue(item, below(path, String(index)), change));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, mapValue(item, below(path, key), change)]),
  );
}

/** Paths become parts of references, which a brace would end, and a dot in a key would make two paths one. */
function below(path: string, key: string): string {
  const part = key.replaceAll(/[{}.%]/g, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`);
  return path === '' ? part : `${path}.${part}`;
}

/** Every text of a config with its path, in order. */
export function stringsOf(config: ConfigValues): readonly { readonly path: string; readonly text: string }[] {
  const found: { path: string; text: string }[] = [];
  mapStrings(config, (text, path) => {
    found.push({ path, text });
    return text;
  });
  return found;
}

/**
 * Whether the text there is a credential: the connector type says so (`*` in its paths stands for any one part), or
 * the field's name does, because a type may forget one and the price of that is a password in the open.
 */
export function isSecretField(path: string, secretPaths: readonly string[]): boolean {
  const parts = path.split('.');
  if (isSecretName(parts.findLast((part) => !/^\d+$/.test(part)) ?? '')) return true;
  return secretPaths.some((pattern) => {
    const wanted = pattern.split('.');
    return (
      wanted.length === parts.length && wanted.every((part, index) => part === '*' || part === parts[index])
    );
  });
}

/** Whether a field holds an address, so that only the credentials in it are secret: `url`, `base_url`, `token_url`. */
export function isUrlField(path: string): boolean {
  return /(^|[._])(url|uri|dsn)$/i.test(path);
}

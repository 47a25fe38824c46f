import { createRequire } from 'node:module';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The program's version, from its package. */
export function version(): string {
  const pkg = createRequire(import.meta.url)('../../package.json') as { readonly version: string };
  return pkg.version;
}

import pkg from '../../package.json' with { type: 'json' };

export type Environment = Readonly<Record<string, string | undefined>>;

/** The program's version, from its package. */
export function version(): string {
  return pkg.version;
}

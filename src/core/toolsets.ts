import { MillraceError } from './errors.ts';
import { suggestion } from './nearest.ts';

/** What `--toolsets` may name, a job each: connect and change sources; bring rows here; ask about them. */
export const TOOLSETS = ['setup', 'sync', 'data'] as const;
export type Toolset = (typeof TOOLSETS)[number];

/** `data,sync` as a list. Throws `invalid_config` that names the nearest set. */
export function readToolsets(text: string): readonly Toolset[] {
  const names = text.split(',').map((name) => name.trim());
  return TOOLSETS.filter((known) => names.map(toolsetOf).includes(known));
}

function toolsetOf(name: string): Toolset {
  const found = TOOLSETS.find((known) => known === name);
  if (found !== undefined) return found;
  throw new MillraceError('invalid_config', `There is no toolset "${name.slice(0, 40)}".`, {
    hint: `${suggestion(name, TOOLSETS)} Sets: ${TOOLSETS.join(', ')}; several with commas: --toolsets sync,data. Left out, all tools are served.`,
    who: 'person',
  });
}

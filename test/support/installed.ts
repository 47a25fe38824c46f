import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { packageFile, root } from '../bundle/package.ts';

/** What `npx -y millrace …` runs once the package is installed: its `bin`, with the arguments behind the name. */
export function installed(args: readonly string[]): readonly [string, ...string[]] {
  const program = join(root, packageFile().bin.millrace);
  if (!existsSync(program))
    throw new Error(`${program} is not there: \`npm run build\` makes it (\`npm ci\` has done so).`);
  return [process.execPath, program, ...args];
}

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** All that the files below a folder hold, byte by byte as a text: for looking for what must not be there. */
export function everyFile(folder: string): string {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .map((entry) => readFileSync(join(entry.parentPath, entry.name), 'latin1'))
    .join('\n');
}

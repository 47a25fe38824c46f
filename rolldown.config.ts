import { existsSync, globSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { Plugin, RolldownOptions } from 'rolldown';

/**
 * `dist` is few files, because a client waits for the first answer: what every start loads was 560 modules, and finding
 * and linking them took half of it (559 ms to 317 ms over stdio, medians of 15 taken in turn).
 * Programs that are started by their file's name are entries, and all lie in one folder, so that `./name.js` beside
 * `import.meta.url` leads from any chunk to them.
 */
const programs = ['src/main.ts', ...globSync('src/**/{worker,*-worker,*-thread}.ts')];

/** What every start needs. All else stays a package: binaries, drivers, and what only some commands load. */
const inlined = /^(@modelcontextprotocol\/|zod$|zod\/|kysely$|croner$|fastest-levenshtein$)/;

const options: RolldownOptions = {
  input: programs,
  platform: 'node',
  external: (id) => /^[@a-z]/.test(id) && !inlined.test(id),
  plugins: [fromNothing(), licences()],
  output: {
    dir: 'dist',
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: '[name]-[hash].js',
  },
};

export default options;

/** What an earlier build left is not of this version. */
function fromNothing(): Plugin {
  return { name: 'from-nothing', buildStart: () => rmSync('dist', { recursive: true, force: true }) };
}

/** The packages whose text is in `dist`, each with the licence that asks to go with it. */
function licences(): Plugin {
  return {
    name: 'licences',
    generateBundle() {
      const folders = [...this.getModuleIds()].flatMap(
        (id) => /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id)?.[1] ?? [],
      );
      const texts = [...new Set(folders)].toSorted().map((folder) => {
        const file = ['LICENSE', 'LICENSE.md', 'license'].map((name) => join(folder, name)).find(existsSync);
        if (file === undefined) throw new Error(`${folder} has no licence to go with its text.`);
        return `${folder.replace(/^.*node_modules\//, '')}\n\n${readFileSync(file, 'utf8').trim()}\n`;
      });
      this.emitFile({ type: 'asset', fileName: 'LICENSES', source: texts.join(`\n${'-'.repeat(72)}\n\n`) });
    },
  };
}

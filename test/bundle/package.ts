import { cpSync, globSync, mkdirSync, readFileSync } from 'node:fs';
import { basename, join, relative, resolve } from 'node:path';

/** What is read of `package.json`. */
export interface PackageFile {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly license: string;
  readonly mcpName: string;
  readonly keywords: readonly string[];
  readonly files: readonly string[];
  readonly bin: { readonly millrace: string };
  readonly engines: { readonly node: string };
  readonly scripts: { readonly build: string };
  readonly dependencies: Readonly<Record<string, string>>;
}

export const root = resolve(import.meta.dirname, '../..');

export function packageFile(): PackageFile {
  return JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as PackageFile;
}

/** What npm puts into a package besides `files`, whatever they say. */
const ALWAYS = ['package.json', 'README.md', 'LICENSE'];

/** The package as npm would unpack it, with what it depends on except for `without`; the sources have to be built. */
export function unpackInto(folder: string, without: readonly string[] = []): void {
  const pkg = packageFile();
  mkdirSync(folder, { recursive: true });
  for (const name of [...ALWAYS, ...pkg.files])
    cpSync(join(root, name), join(folder, name), { recursive: true });
  const names = Object.keys(pkg.dependencies).filter((name) => !without.includes(name));
  for (const path of dependencies(names)) copyPackage(path, join(folder, path));
}

interface Locked {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

/** Folders of these packages and of all that they need in turn, as the lock file has laid them out. */
function dependencies(names: readonly string[]): readonly string[] {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    readonly packages: Readonly<Record<string, Locked>>;
  };
  const found = new Set<string>();
  const visit = (name: string, from: string): void => {
    const path = placeOf(name, from, packages);
    // A peer or a package for another platform that is not installed.
    if (path === null || found.has(path)) return;
    found.add(path);
    const { dependencies: needs, peerDependencies, optionalDependencies } = packages[path] ?? {};
    for (const need of Object.keys({ ...needs, ...optionalDependencies, ...peerDependencies }))
      if (!need.startsWith('@types/')) visit(need, path);
  };
  for (const name of names) visit(name, '');
  return [...found];
}

/** As Node looks for it: below who asks, then one level up after the other. */
function placeOf(name: string, from: string, packages: Readonly<Record<string, Locked>>): string | null {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('/node_modules/')))) {
    const path = at === '' ? `node_modules/${name}` : `${at}/node_modules/${name}`;
    if (path in packages) return path;
    if (at === '') return null;
  }
}

/** What running it never reads: declarations, source maps, words and tests of others. */
const UNREAD = /\.(d\.[cm]?ts|[cm]?ts|map|md|markdown|flow|tsbuildinfo)$|^\.(?!\w*rc$)/;
const UNREAD_FOLDERS = ['test', 'tests', '__tests__', 'docs', 'example', 'examples', 'benchmark', 'bench'];

function copyPackage(path: string, to: string): void {
  const from = join(root, path);
  cpSync(from, to, {
    recursive: true,
    filter: (source) => {
      const inside = relative(from, source);
      if (inside === '') return true;
      return (
        !UNREAD.test(basename(source)) &&
        !UNREAD_FOLDERS.includes(inside) &&
        // Nested packages come by themselves, where something needs them.
        !/(^|[\\/])node_modules($|[\\/])/.test(inside)
      );
    },
  });
}

/** Files below a folder that are machine code for one platform. */
export function binariesIn(folder: string): readonly string[] {
  return globSync('**/*.{node,so,dylib,dll,exe}', { cwd: folder });
}

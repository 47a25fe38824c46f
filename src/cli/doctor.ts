import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { type App, openApp } from '../app.ts';
import { asMillraceError } from '../core/errors.ts';
import { isDiskLow } from '../core/health-whole.ts';
import { answer } from './answer.ts';
import { connectorFindings } from './doctor-connectors.ts';
import type { CommandLine } from './options.ts';
import { type Environment, version } from './program.ts';

/** What was looked at, and how it was found. */
export interface Finding {
  readonly what: string;
  readonly ok: boolean;
  readonly detail: string;
  readonly hint?: string;
}

/** Looks at everything that can be wrong with an installation and says what to do. Exit code 1 when something is. */
export async function doctor(line: CommandLine, env: Environment): Promise<number> {
  const findings: Finding[] = [
    { what: 'Millrace', ok: true, detail: `${version()} on Node ${process.versions.node}` },
  ];
  let app: App | undefined;
  try {
    app = await openApp({ flags: line.flags, env, actor: 'cli' });
    findings.push({ what: 'configuration and data folder', ok: true, detail: app.config.dataDir });
    findings.push(
      ...folderFindings(app.config.dataDir),
      ...(await keyFindings(app)),
      await auditFinding(app),
      ...(await storageFindings(app)),
      ...(await connectorFindings(app)),
    );
  } catch (error) {
    const known = asMillraceError(error);
    findings.push({ what: 'start', ok: false, detail: `${known.code}: ${known.message}`, hint: known.hint });
  } finally {
    await app?.[Symbol.asyncDispose]();
  }
  for (const finding of findings) {
    answer(
      `${finding.ok ? '✓' : '✗'} ${finding.what}: ${finding.detail}${finding.hint === undefined ? '' : `\n    ${finding.hint}`}`,
    );
  }
  const wrong = findings.filter((finding) => !finding.ok).length;
  answer(wrong === 0 ? 'All is well.' : `${wrong} of ${findings.length} checks found something to mend.`);
  return wrong === 0 ? 0 : 1;
}

/** The folder holds sealed secrets and their key: nobody else may read it. */
function folderFindings(dataDir: string): readonly Finding[] {
  if (process.platform === 'win32') return [];
  return [
    { path: dataDir, wanted: 0o700 },
    { path: join(dataDir, 'master.key'), wanted: 0o600 },
  ].flatMap(({ path, wanted }): readonly Finding[] => {
    if (!existsSync(path)) return [];
    const mode = statSync(path).mode & 0o777;
    const ok = (mode & 0o077) === 0;
    return [
      {
        what: path,
        ok,
        detail: `permissions ${mode.toString(8)}`,
        ...(ok ? {} : { hint: `chmod ${wanted.toString(8)} '${path}'` }),
      },
    ];
  });
}

async function keyFindings(app: App): Promise<readonly Finding[]> {
  const missing = await app.vault.missingKeys();
  if (missing.length === 0) return [{ what: 'secrets', ok: true, detail: 'every stored secret has its key' }];
  return missing.map(({ keyId, secrets }) => ({
    what: 'secrets',
    ok: false,
    detail: `${secrets} stored secrets need key ${keyId}, which is not here`,
    hint: 'Put the master.key that holds it back into the data folder, or set MILLRACE_MASTER_KEY; else store the secrets again.',
  }));
}

async function auditFinding(app: App): Promise<Finding> {
  const { entries, problem } = await app.verifyAudit();
  if (problem === null)
    return { what: 'audit log', ok: true, detail: `${entries} entries, each as it was written` };
  return {
    what: 'audit log',
    ok: false,
    detail: problem,
    hint: 'Somebody changed store.db outside Millrace: keep a copy, compare it with a backup, and find out who may write to the data folder.',
  };
}

async function storageFindings(app: App): Promise<readonly Finding[]> {
  const { storage } = await app.services.health.get();
  const free = Math.round(storage.free_bytes / 1024 / 1024);
  const low = isDiskLow({ freeBytes: storage.free_bytes, diskBytes: storage.disk_bytes });
  const files: Finding[] = (await app.integrity()).map(({ file, problem }) =>
    problem === null
      ? { what: file, ok: true, detail: 'intact' }
      : {
          what: file,
          ok: false,
          detail: problem,
          hint: 'Stop every Millrace process, keep a copy of the folder, and restore the file from a backup; landed data can also be synced anew after removing warehouse.db.',
        },
  );
  return [
    ...files,
    {
      what: 'disk',
      ok: !low,
      detail: `${free} MB free`,
      ...(!low ? {} : { hint: 'Free some space, or move the data folder with --data-dir.' }),
    },
  ];
}

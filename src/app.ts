import { randomBytes } from 'node:crypto';
import { statfsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { type Config, loadConfig, openDataDir } from './config.ts';
import type { HostServices } from './connectors/connector.ts';
import { createPoliteness } from './connectors/politeness.ts';
import { openWarehouse } from './destinations/index.ts';
import { createRunner } from './engine/runner.ts';
import { createThreads } from './engine/threads.ts';
import { createAsks } from './http/ask.ts';
import { createLog, type Log } from './log.ts';
import { type Context, sourceSpec } from './services/context.ts';
import { createServices } from './services/index.ts';
import type { Services } from './services/services.ts';
import { openStore } from './store/open.ts';
import { createKeptSecrets } from './vault/kept-secrets.ts';
import type { Rotation } from './vault/rotation.ts';
import { createSecretTools, type SecretTools } from './vault/secret-tools.ts';
import { type UserSecrets, userSecrets } from './vault/user-secrets.ts';
import { openVault, type Vault } from './vault/vault.ts';

/** A running system. Closing it stops runs at their next batch and closes everything in reverse order. */
export interface App extends AsyncDisposable {
  readonly config: Config;
  readonly services: Services;
  readonly vault: Vault;
  /** Named secrets, for `millrace secret`. */
  readonly secrets: UserSecrets;
  /** What references name, in clear. */
  readonly references: Pick<SecretTools, 'reveal'>;
  readonly log: Log;
  /** Whether the audit log is whole and as it was written. */
  verifyAudit(): Promise<{ readonly entries: number; readonly problem: string | null }>;
  /** A new key for all stored secrets; told to the audit log. */
  rotateKey(onProgress: (sealed: number) => void): Promise<Rotation>;
  /** What SQLite's own check finds wrong with each file; null where it is intact. */
  integrity(): Promise<readonly { readonly file: string; readonly problem: string | null }[]>;
  /** Applies the connectors of the config file and begins to carry out queued runs. */
  startBackground(): Promise<void>;
}

export interface AppOptions {
  readonly flags: {
    readonly config?: string;
    readonly dataDir?: string;
    readonly readOnly: boolean;
    readonly logLevel?: string;
  };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Who acts, for the audit log. */
  readonly actor: string;
  /** What happens to a credential given in clear when the config file does not say; accepted when absent. */
  readonly literals?: 'accept' | 'reject';
}

/** The only place where parts meet: configuration in, running system out. Throws MillraceError. */
export async function openApp(options: AppOptions): Promise<App> {
  const config = loadConfig({ env: options.env, flags: options.flags });
  const log = createLog({ level: config.logLevel });
  openDataDir(config.dataDir);
  await using opened = new AsyncDisposableStack();
  const now = (): Date => new Date();
  const store = opened.use(
    await openStore({ file: join(config.dataDir, 'store.db'), now, random: (bytes) => randomBytes(bytes) }),
  );
  const vault = await openVault({ dataDir: config.dataDir, env: options.env, secrets: store.secrets });
  const warehouseFile = join(config.dataDir, 'warehouse.db');
  const warehouse = opened.use(openWarehouse(warehouseFile));
  const turn = createPoliteness();
  const kept = { vault, leases: store.leases, holder: `${hostname()}:${process.pid}` };
  const hostFor = (connector: string): HostServices => ({
    turn,
    secrets: createKeptSecrets(connector, kept),
  });
  const threads = opened.use(createThreads({ idle: config.runs.concurrent, hostFor }));
  const secrets = createSecretTools({
    vault,
    env: options.env,
    rules: { ...config.secrets, literals: config.secrets.literals ?? options.literals ?? 'accept' },
  });

  const open = async (name: string) => {
    const connector = await store.connectors.get(name);
    return { connector, source: await sourceSpec({ secrets, settings }, connector) };
  };
  const settings: Context['settings'] = {
    readOnly: config.readOnly,
    dataDir: config.dataDir,
    network: config.network,
    query: config.query,
  };
  const onFault = (detail: string, runId?: string): void =>
    log.error({ event: 'fault', run_id: runId, detail }, 'unclassified error');
  const runner = opened.use(
    createRunner({
      runs: store.runs,
      threads,
      open,
      warehouseFile,
      settings: config.runs,
      random: Math.random,
      now,
      onFault,
    }),
  );
  const asks = opened.use(createAsks({ now, logger: log }));
  const services = createServices({
    connectors: store.connectors,
    runs: store.runs,
    audit: store.audit,
    warehouse,
    secrets,
    asks,
    threads,
    runner,
    settings,
    now,
    randomToken: () => randomBytes(12).toString('base64url'),
    storage: () => ({ store_bytes: store.sizeBytes(), free_bytes: freeBytes(config.dataDir) }),
  });
  const parts = opened.move();

  return {
    config,
    services,
    vault,
    secrets: userSecrets(vault),
    references: secrets,
    log,
    verifyAudit: () => store.audit.verify(),
    async rotateKey(onProgress) {
      const rotation = await vault.rotate({ onProgress });
      const { keyId, resumed, sealed, retired, unreadable } = rotation;
      const detail = { key_id: keyId, resumed, sealed, retired, unreadable: unreadable.length };
      await store.audit.append({ actor: options.actor, action: 'rotate_key', subject: keyId, detail });
      return rotation;
    },
    async integrity() {
      return [
        { file: 'store.db', problem: await store.problem() },
        { file: 'warehouse.db', problem: await warehouse.problem() },
      ];
    },
    async startBackground() {
      if (config.readOnly) return;
      runner.start();
      await services.connectors.apply(config.connectors, { actor: 'config' });
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

function freeBytes(dir: string): number {
  const { bavail, bsize } = statfsSync(dir);
  return bavail * bsize;
}

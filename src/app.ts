import { randomBytes } from 'node:crypto';
import { statfsSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { type Config, loadConfig } from './config.ts';
import type { HostServices } from './connectors/connector.ts';
import { createPoliteness } from './connectors/politeness.ts';
import { openDataDir } from './data-dir.ts';
import { openWarehouse } from './destinations/index.ts';
import { createAlone } from './engine/alone.ts';
import { createChores } from './engine/chores.ts';
import { createDuty } from './engine/duty.ts';
import { holderName, isGone } from './engine/holder.ts';
import { createRetention } from './engine/retention.ts';
import { createRunner } from './engine/runner.ts';
import { createScheduler, SCHEDULER } from './engine/scheduler.ts';
import { createThreads } from './engine/threads.ts';
import { createAsks } from './http/ask.ts';
import { createLog, type Log } from './log.ts';
import { checkConnector, type Look } from './services/checks.ts';
import { assertWritable, type Context, sourceSpec } from './services/context.ts';
import { healthChores } from './services/health-chores.ts';
import { createServices } from './services/index.ts';
import type { Services } from './services/services.ts';
import { createVerdicts } from './services/verdicts.ts';
import { openStore } from './store/open.ts';
import { createKeptSecrets } from './vault/kept-secrets.ts';
import { lockByLease } from './vault/lease-lock.ts';
import { referencesIn } from './vault/references.ts';
import type { Rotation } from './vault/rotation.ts';
import { createSecretTools, type SecretTools } from './vault/secret-tools.ts';
import { type UserSecrets, userSecrets } from './vault/user-secrets.ts';
import { openVault, type Vault } from './vault/vault.ts';

/** A running system. Closing it stops runs at their next batch and closes everything in reverse order. */
export interface App extends AsyncDisposable {
  readonly config: Config;
  readonly services: Services;
  readonly vault: Vault;
  /** Named secrets, for `millrace secret`; changes are told to the audit log. Throws `read_only` where nothing may change. */
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
  /** Looks at a connector's source, as `test_connector` does but for so long. Throws MillraceError: `timeout`. */
  check(connector: string, timeoutMs: number): Promise<Look>;
  /** Applies the connectors of the config file and begins to carry out queued runs. */
  startBackground(): Promise<void>;
  /** Applies the connectors of the config file, and begins nothing. */
  applyConnectors(): Promise<void>;
  /** Carries out that run as soon as nobody else holds it, and no other; nothing of the schedule is begun. */
  carryOut(runId: string): void;
}

export interface AppOptions {
  readonly flags: {
    readonly config?: string;
    readonly dataDir?: string;
    readonly readOnly: boolean;
    readonly toolsets?: string;
    readonly logLevel?: string;
  };
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Who acts, for the audit log. */
  readonly actor: string;
  /** What happens to a credential given in clear when the config file does not say; accepted when absent. */
  readonly literals?: 'accept' | 'reject';
  /** Many ask this process and nobody waits for its runs: where cores are short, they get the rest. */
  readonly standBack?: boolean;
}

/** The lease of whoever changes the master key. */
const KEY_ROTATION = 'key-rotation';

/** The only place where parts meet: configuration in, running system out. Throws MillraceError. */
export async function openApp(options: AppOptions): Promise<App> {
  const config = loadConfig({ env: options.env, flags: options.flags });
  const log = createLog({ level: config.logLevel });
  openDataDir(config.dataDir);
  await using opened = new AsyncDisposableStack();
  const now = (): Date => new Date();
  const store = opened.use(
    await openStore({
      file: join(config.dataDir, 'store.db'),
      now,
      random: (bytes) => randomBytes(bytes),
      breaker: config.breaker,
    }),
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
  const threads = opened.use(
    createThreads({ idle: config.runs.concurrent, standBack: options.standBack ?? false, hostFor }),
  );
  const secrets = createSecretTools({
    vault,
    env: options.env,
    rules: {
      ...config.secrets,
      closed: referencesIn([config.http.tokens, config.alerts]),
      literals: config.saysLiterals ? config.secrets.literals : (options.literals ?? 'accept'),
    },
  });

  const open = async (name: string) => {
    const connector = await store.connectors.get(name);
    return { connector, source: await sourceSpec({ secrets, settings }, connector) };
  };
  const settings: Context['settings'] = {
    readOnly: config.readOnly,
    dataDir: config.dataDir,
    warehouseFile,
    network: config.network,
    scheduler: config.scheduler,
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
  const holder = holderName(Math.random);
  const { act } = createScheduler({
    schedules: store.schedules,
    settings: { ...config.scheduler, retryMaxMs: config.runs.backoffMs[1] },
    now,
    onQueued: () => runner.wake(),
    onFault,
  });
  const scheduling = opened.use(
    createDuty({ name: SCHEDULER, holder, leases: store.leases, now, act, onFault }),
  );
  const context: Context = {
    connectors: store.connectors,
    runs: store.runs,
    breakers: store.breakers,
    health: store.health,
    checks: store.checks,
    alerts: store.alerts,
    audit: store.audit,
    schedules: store.schedules,
    leases: store.leases,
    schedulesHere: scheduling.isHeld,
    warehouse,
    secrets,
    asks,
    threads,
    runner,
    alone: createAlone({ runs: store.runs, leases: store.leases, random: Math.random }),
    settings,
    now,
    randomToken: () => randomBytes(12).toString('base64url'),
    storage: () => ({ store_bytes: store.sizeBytes(), ...diskOf(config.dataDir) }),
  };
  const verdicts = createVerdicts(context);
  const services = createServices(context, verdicts);
  // What one process of all does now and then: entries of this list, and nothing else to wire.
  const chores = createChores({
    chores: [
      createRetention({ runs: store.runs, settings: config.runs, now }),
      ...healthChores({ context, verdicts, config, random: Math.random, log }),
    ],
    now,
    onFault,
  });
  opened.defer(() => chores.ended());
  const choresDuty = opened.use(
    createDuty({
      name: 'chores',
      holder,
      leases: store.leases,
      now,
      act: async ({ signal }) => {
        chores.look(signal);
        return undefined;
      },
      onFault,
    }),
  );
  const applyConnectors = async (): Promise<void> => {
    if (!config.readOnly) await services.connectors.apply(config.connectors, { actor: 'config' });
  };
  const parts = opened.move();
  const named = userSecrets(vault);
  const changingSecret = async (
    action: string,
    subject: string,
    change: () => Promise<void>,
  ): Promise<void> => {
    assertWritable(config.readOnly);
    await change();
    await store.audit.append({ actor: options.actor, action, subject, detail: {} });
  };
  /** Two rotations at once would each seal by a key that the other does not know; a second one waits. */
  const rotatingAlone = async <T>(work: () => Promise<T>): Promise<T> => {
    await store.leases.free(KEY_ROTATION, isGone);
    const lock = { leases: store.leases, holder };
    const release = await lockByLease(KEY_ROTATION, lock, new AbortController().signal);
    try {
      return await work();
    } finally {
      release();
    }
  };

  return {
    config,
    services,
    vault,
    secrets: {
      list: () => named.list(),
      set: (name, value) => changingSecret('set_secret', name, () => named.set(name, value)),
      remove: (name) => changingSecret('remove_secret', name, () => named.remove(name)),
    },
    references: secrets,
    log,
    verifyAudit: () => store.audit.verify(),
    async rotateKey(onProgress) {
      assertWritable(config.readOnly);
      const rotation = await rotatingAlone(() => vault.rotate({ onProgress }));
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
    check: (name, timeoutMs) =>
      checkConnector(context, name, { signal: new AbortController().signal, timeoutMs }),
    async startBackground() {
      if (config.readOnly) return;
      runner.start();
      if (config.scheduler.enabled) scheduling.start();
      choresDuty.start();
      await applyConnectors();
    },
    applyConnectors,
    carryOut: (runId) => runner.start(runId),
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

function diskOf(dir: string): { readonly free_bytes: number; readonly disk_bytes: number } {
  const { bavail, blocks, bsize } = statfsSync(dir);
  return { free_bytes: bavail * bsize, disk_bytes: blocks * bsize };
}

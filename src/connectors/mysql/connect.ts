import { connect as connectSocket, isIP, type Socket } from 'node:net';
import { type ConnectionOptions, checkServerIdentity, connect as connectTls } from 'node:tls';
import mysql, { type Connection } from 'mysql2';
import { CheckedSocket } from '../sql/socket.ts';
import type { Settings } from './config.ts';

/** What we use of a driver's connection besides its published interface; `test/contract/mysql-wire.test.ts` holds it to this. */
export interface Wire extends Connection {
  /** Plain or TLS: whichever is in use. */
  stream: Socket;
  readonly packetParser: { execute(chunk: Buffer): void };
  /** Replaced by ours: the driver's own takes no identity check. */
  startTLS: (done: (error?: Error) => void) => void;
  /** The next packet's expected number. */
  sequenceId: number;
  writePacket(packet: OutPacket): void;
  addCommand(command: Command): void;
  _resetSequenceId(): void;
}

/** One exchange with the server. `execute` is called without a packet to begin, then with each; true when it is done. */
export interface Command {
  execute(packet: InPacket | undefined, connection: Wire): boolean;
  /** Called by the driver when the connection breaks. */
  onResult(error: unknown): void;
}

/** A packet as the driver hands it over: valid during the call only. Its bytes are from `start + 4` to `end`. */
export interface InPacket {
  readonly buffer: Buffer;
  readonly start: number;
  readonly end: number;
  asError(encoding: string): Error;
}

/** A packet on its way out: four bytes for the header, then what is said. */
export class OutPacket {
  readonly buffer: Buffer;

  constructor(code: number, body: Buffer) {
    this.buffer = Buffer.concat([Buffer.from([0, 0, 0, 0, code]), body]);
  }

  length(): number {
    return this.buffer.length;
  }

  writeHeader(sequenceId: number): void {
    this.buffer.writeUIntLE(this.buffer.length - 4, 0, 3);
    this.buffer[3] = sequenceId;
  }
}

/**
 * Begins to connect; the driver's `connect` tells when it is done. `tls: false` overrides the settings, for `prefer`.
 *
 * Without TLS no password goes in clear: mysql_native_password and, for a login in the server's cache,
 * caching_sha2_password send a hash; otherwise the driver asks the server for its RSA key and encrypts with it. That
 * stops those who listen. Nothing vouches for the key: who answers in the server's place gets the password.
 */
export function openWire(settings: Settings, tls: boolean): Wire {
  const { host, port } = settings;
  const local = host.startsWith('/');
  const connection = mysql.createConnection({
    // The driver asks for a name also where `stream` is what connects.
    ...(local ? { socketPath: host } : { host, port }),
    user: settings.username,
    password: settings.password,
    database: settings.database,
    // The server converts every text to this, whatever it is stored in.
    charset: 'UTF8MB4_UNICODE_CI',
    multipleStatements: false,
    // A server may ask a client for any of its files; IGNORE_SPACE and ODBC would change what a user's SQL means.
    flags: ['-LOCAL_FILES', '-IGNORE_SPACE', '-ODBC', '-FOUND_ROWS'],
    // Our own clock runs over the connection and what is set up in it.
    connectTimeout: 0,
    ...(tls ? { ssl: {} } : {}),
    stream: () => (local ? connectSocket(host) : openSocket(host, port)),
  } as Parameters<typeof mysql.createConnection>[0]) as unknown as Wire;
  connection.startTLS = (done) => startTls(connection, settings, done);
  return connection;
}

function openSocket(host: string, port: number): Socket {
  const socket = new CheckedSocket();
  socket.setNoDelay(true);
  socket.setKeepAlive(true, 10_000);
  return socket.connect(port, host);
}

/**
 * TLS over the socket in use. The driver's own checks the certificate of an address against the name "localhost", and
 * loses the code of what went wrong: both matter to us.
 */
function startTls(connection: Wire, settings: Settings, done: (error?: Error) => void): void {
  const plain = connection.stream;
  plain.removeAllListeners('data');
  let agreed = false;
  const secure = connectTls({ ...tlsOptions(settings), socket: plain }, () => {
    agreed = true;
    done();
  });
  secure.on('error', (error) => {
    if (agreed) plain.emit('error', error);
    else done(new Error(error.message, { cause: error }));
  });
  secure.on('close', () => {
    if (!agreed) done(new Error('the server closed the connection', { cause: reset() }));
  });
  secure.on('data', (chunk) => connection.packetParser.execute(chunk));
  connection.stream = secure;
}

function reset(): Error {
  return Object.assign(new Error('closed'), { code: 'ECONNRESET' });
}

function tlsOptions({ ssl, ca, host }: Settings): ConnectionOptions {
  const servername = isIP(host) === 0 && !host.startsWith('/') ? { servername: host } : {};
  const authority = ca === undefined ? {} : { ca };
  switch (ssl) {
    case 'disable':
    case 'prefer':
      return { ...servername, rejectUnauthorized: false };
    case 'require':
      // An authority that is given is used, though the name is not compared.
      return ca === undefined
        ? { ...servername, rejectUnauthorized: false }
        : { ...servername, ca, checkServerIdentity: () => undefined };
    case 'verify-ca':
      return { ...servername, ...authority, checkServerIdentity: () => undefined };
    case 'verify-full':
      return {
        ...servername,
        ...authority,
        checkServerIdentity: (_, certificate) => checkServerIdentity(host, certificate),
      };
    default:
      throw ssl satisfies never;
  }
}

const killTimeoutMs = 2_000;

/**
 * Asks the server to stop what a connection is doing: it notices a closed socket only when it has something to send.
 * Best effort, and only on the very server: behind a proxy the same number may be somebody else's connection.
 */
export function sendKill(
  settings: Settings,
  tls: boolean,
  target: { readonly id: number; readonly server: string },
): void {
  const connection = openWire(settings, tls);
  const end = (): void => {
    clearTimeout(timer);
    connection.stream.destroy();
  };
  const timer = setTimeout(end, killTimeoutMs);
  timer.unref();
  connection.on('error', end);
  connection.query({ sql: `SELECT ${serverIdentity}`, rowsAsArray: true }, (error, rows) => {
    const [row] = (rows ?? []) as unknown as readonly (readonly unknown[])[];
    if (error || String(row?.[0]) !== target.server) return end();
    connection.query(`KILL QUERY ${target.id}`, end);
  });
}

/** An expression that no two servers share. */
export const serverIdentity = "CONCAT_WS('/', @@hostname, @@port, @@server_id, @@pid_file)";

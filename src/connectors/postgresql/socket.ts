import { connect } from 'node:net';

const cancelTimeoutMs = 1_000;

/**
 * Asks the server to stop what a session is doing: a new connection, sixteen bytes, no answer. Best effort: the
 * session's own socket is closed whatever becomes of this.
 */
export function sendCancel(target: {
  readonly host: string;
  readonly port: number;
  readonly pid: number;
  readonly key: number;
}): void {
  const socket = target.host.startsWith('/')
    ? connect(`${target.host}/.s.PGSQL.${target.port}`)
    : connect({ host: target.host, port: target.port, autoSelectFamily: true });
  socket.unref();
  socket.setTimeout(cancelTimeoutMs, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('connect', () => {
    const message = Buffer.alloc(16);
    message.writeInt32BE(16, 0);
    message.writeInt32BE(80_877_102, 4);
    message.writeInt32BE(target.pid, 8);
    message.writeInt32BE(target.key, 12);
    socket.end(message);
  });
}

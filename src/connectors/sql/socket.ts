import { type LookupAddress, type LookupOptions, lookup as resolveName } from 'node:dns';
import { isIP, Socket, type SocketConnectOpts } from 'node:net';
import { createHostRules } from '../../core/network.ts';

/** What may be reached at all once a name has become an address: everything but link-local (cloud metadata). */
const assertAddress = createHostRules([]);

type LookupDone = (error: NodeJS.ErrnoException | null, address: LookupAddress[]) => void;

/**
 * A socket that judges every address its host name resolves to, and connects to those very addresses: between
 * a check and a second resolution a name can change its mind.
 */
export class CheckedSocket extends Socket {
  override connect(...args: unknown[]): this {
    const [target, host] = args;
    // The drivers say connect(port, host), or connect(path) for a Unix socket.
    if (typeof target !== 'number' || typeof host !== 'string')
      return super.connect(target as SocketConnectOpts);
    // An address is not looked up, and judged here.
    if (isIP(host) !== 0) assertAddress(host, target);
    return super.connect({
      port: target,
      host,
      autoSelectFamily: true,
      lookup: checkedLookup(target) as never,
    });
  }
}

function checkedLookup(port: number): (host: string, options: LookupOptions, done: LookupDone) => void {
  return (host, options, done) => {
    resolveName(host, { ...options, all: true }, (error, addresses) => {
      if (error) return done(error, []);
      try {
        for (const { address } of addresses) assertAddress(address, port);
      } catch (refused) {
        return done(refused as Error, []);
      }
      done(null, addresses);
    });
  };
}

import { isIP } from 'node:net';
import { getCACertificates } from 'node:tls';
import { Agent, buildConnector, Pool } from 'undici';
import { type AddressRules, targetOf } from './addresses.ts';
import { openTunnel, type ProxyPlace } from './proxy.ts';

export interface DispatcherOptions {
  readonly rules: AddressRules;
  /** How long a connection may take to be made, TLS included. */
  readonly connectMs: number;
  /** Which proxy leads there; null: none. */
  readonly proxyFor: (url: URL) => ProxyPlace | null;
  /** PEM text of authorities trusted besides those that Node knows. */
  readonly ca: string | undefined;
}

/**
 * Connections that are only ever made to addresses judged in the same step, kept alive and used again per origin;
 * HTTP/2 where the server offers it.
 */
export function createDispatcher(options: DispatcherOptions): Agent {
  return new Agent({
    allowH2: true,
    factory: (origin, pool) => {
      return new Pool(origin, { ...pool, connect: connectorTo(new URL(origin), options) });
    },
  });
}

function connectorTo(origin: URL, options: DispatcherOptions): buildConnector.connector {
  const target = targetOf(origin);
  const { rules, connectMs, ca } = options;
  const connect = buildConnector({
    allowH2: true,
    timeout: connectMs,
    lookup: rules.lookupFor(target),
    ...(ca === undefined ? {} : { ca: [...getCACertificates('default'), ca] }),
  });
  return (request, done) => {
    const proxy = options.proxyFor(origin);
    if (proxy !== null) {
      openTunnel(proxy, target, { rules, connectMs }).then(
        (socket) =>
          request.protocol === 'https:'
            ? connect({ ...request, httpSocket: socket }, done)
            : done(null, socket),
        (error: Error) => done(error, null),
      );
      return;
    }
    try {
      // `net.connect` asks nobody about an address that is written out: `lookup` is for names.
      if (isIP(target.host) !== 0) rules.assertAddress(target.host, target);
    } catch (error) {
      done(error as Error, null);
      return;
    }
    connect(request, done);
  };
}

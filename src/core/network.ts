import { BlockList, isIP } from 'node:net';
import { MillraceError } from './errors.ts';

/**
 * The rules of `network.allow` as a check. Entries are `host`, `host:port`, `*.domain` or CIDR; none: every host.
 * Link-local addresses (cloud metadata lives there) are refused whatever is allowed. The check throws
 * `host_not_allowed`; call it with the name, and again with the address the name resolved to.
 */
export function createHostRules(allow: readonly string[]): (host: string, port: number) => void {
  const assertAllowed = createAllowRule(allow);
  return (host, port) => {
    const name = bare(host);
    if (isIP(name) !== 0 && linkLocal.check(name, family(name)))
      throw refused(host, port, 'Link-local addresses are never reached.');
    assertAllowed(host, port);
  };
}

/** Only what `network.allow` says: throws `host_not_allowed` for a host that it leaves out; none: every host. */
export function createAllowRule(allow: readonly string[]): (host: string, port: number) => void {
  const isAllowed = createHostMatcher(allow);
  return (host, port) => {
    if (allow.length === 0 || isAllowed(host, port)) return;
    throw refused(
      host,
      port,
      `Add "${host}:${port}" to millrace.network.allow in the config file to allow it.`,
    );
  };
}

/** Whether one of the entries names the host: as `host`, `host:port`, `*.domain`, or, for an address, by CIDR. */
export function createHostMatcher(entries: readonly string[]): (host: string, port: number) => boolean {
  const networks = new BlockList();
  const names: { readonly name: string; readonly port: number | null }[] = [];
  for (const entry of entries) {
    const [address, bits] = entry.split('/');
    if (bits !== undefined && address !== undefined && isIP(address) !== 0)
      networks.addSubnet(address, Number(bits), family(address));
    else names.push(splitPort(entry.toLowerCase()));
  }
  return (host, port) => {
    const name = bare(host);
    if (isIP(name) !== 0 && networks.check(name, family(name))) return true;
    return names.some((rule) => (rule.port === null || rule.port === port) && matches(rule.name, name));
  };
}

/** Whether only this machine reaches it: `localhost`, 127.0.0.0/8, ::1. */
export function isLoopback(host: string): boolean {
  return loopback(host, 0);
}

const loopback = createHostMatcher(['localhost', '127.0.0.0/8', '::1/128']);
const linkLocal = new BlockList();
linkLocal.addSubnet('169.254.0.0', 16, 'ipv4');
linkLocal.addSubnet('fe80::', 10, 'ipv6');

/** Lower case, an IPv6 address without its brackets. */
function bare(host: string): string {
  return host.toLowerCase().replace(/^\[|\]$/g, '');
}

function family(address: string): 'ipv4' | 'ipv6' {
  return isIP(address) === 6 ? 'ipv6' : 'ipv4';
}

function splitPort(entry: string): { readonly name: string; readonly port: number | null } {
  const match = /^\[?([^\]]+?)\]?:(\d{1,5})$/.exec(entry);
  // A bare IPv6 address holds colons too: only "[…]:port" and "name:port" carry a port.
  if (match?.[1] === undefined || isIP(entry) === 6)
    return { name: entry.replace(/^\[|\]$/g, ''), port: null };
  return { name: match[1], port: Number(match[2]) };
}

function matches(rule: string, name: string): boolean {
  return rule.startsWith('*.') ? name.endsWith(rule.slice(1)) : name === rule;
}

function refused(host: string, port: number, hint: string): MillraceError {
  return new MillraceError('host_not_allowed', `Millrace may not connect to ${host}:${port}.`, { hint });
}

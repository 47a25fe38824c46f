import { createCipheriv, createDecipheriv, createHash, randomBytes } from 'node:crypto';

/** A value sealed under one key for one owner. Structurally what the store keeps. */
export interface SealedValue {
  /** Whose it is: `secret/NAME`, `connector/<name>/<path>`. Authenticated: under another owner it does not open. */
  readonly owner: string;
  readonly keyId: string;
  /** Version byte, 12 bytes of nonce, 16 of tag, ciphertext. */
  readonly sealed: Uint8Array;
}

/** A 256-bit key and the name that is kept with what it sealed. */
export interface MasterKey {
  readonly id: string;
  readonly bytes: Uint8Array;
}

export const KEY_BYTES = 32;

/** The key's name, derived from it: the same key is known again wherever it comes from, and says nothing about itself. */
export function keyId(bytes: Uint8Array): string {
  return createHash('sha256').update('millrace key id\0').update(bytes).digest('hex').slice(0, 12);
}

/** AES-256-GCM with a fresh nonce: random 96 bits stay safe for four billion values under one key (NIST SP 800-38D). */
export function sealValue(key: MasterKey, owner: string, value: string): SealedValue {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key.bytes, nonce);
  cipher.setAAD(bindingOf(key.id, owner));
  const ciphertext = Buffer.concat([cipher.update(value, 'utf8'), cipher.final()]);
  return {
    owner,
    keyId: key.id,
    sealed: Buffer.concat([Buffer.of(VERSION), nonce, cipher.getAuthTag(), ciphertext]),
  };
}

/** The value again; null when it was changed, moved to another owner or sealed with another key. */
export function openValue(key: MasterKey, { owner, keyId: sealedWith, sealed }: SealedValue): string | null {
  if (sealed[0] !== VERSION || sealed.length < 1 + NONCE_BYTES + TAG_BYTES) return null;
  const nonce = sealed.subarray(1, 1 + NONCE_BYTES);
  const tag = sealed.subarray(1 + NONCE_BYTES, 1 + NONCE_BYTES + TAG_BYTES);
  const decipher = createDecipheriv('aes-256-gcm', key.bytes, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(bindingOf(sealedWith, owner));
  decipher.setAuthTag(tag);
  try {
    const text = Buffer.concat([
      decipher.update(sealed.subarray(1 + NONCE_BYTES + TAG_BYTES)),
      decipher.final(),
    ]);
    return text.toString('utf8');
  } catch {
    return null; // node:crypto says "unable to authenticate data", and there is no more to know
  }
}

const VERSION = 1;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

function bindingOf(id: string, owner: string): Buffer {
  return Buffer.from(`millrace\0${VERSION}\0${id}\0${owner}`, 'utf8');
}

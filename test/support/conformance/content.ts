import { setTimeout as sleep } from 'node:timers/promises';
import type { ContentBlock, LoggingLevel } from '@modelcontextprotocol/server';
import { MillraceError } from '../../../src/core/errors.ts';
import { failure } from '../../../src/mcp/reply.ts';
import { type FixtureTool, said } from './fixture.ts';

/** One red pixel. */
export const png = {
  data: 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==',
  mimeType: 'image/png',
} as const;
/** Two samples of silence. */
const wav = {
  data: 'UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=',
  mimeType: 'audio/wav',
} as const;

const text: ContentBlock = { type: 'text', text: 'A text.' };
const image: ContentBlock = { type: 'image', ...png };
const audio: ContentBlock = { type: 'audio', ...wav };
const resource: ContentBlock = {
  type: 'resource',
  resource: { uri: 'test://embedded', mimeType: 'text/plain', text: 'A resource in a result.' },
};
/** Between two notices, so that they are not one packet. */
const pauseMs = 20;

/** Every kind of content, notices while a tool works, failures, a stream that breaks. */
export const contentTools: readonly FixtureTool[] = [
  { name: 'test_simple_text', call: () => ({ content: [text] }) },
  { name: 'test_image_content', call: () => ({ content: [image] }) },
  { name: 'test_audio_content', call: () => ({ content: [audio] }) },
  { name: 'test_embedded_resource', call: () => ({ content: [resource] }) },
  { name: 'test_multiple_content_types', call: () => ({ content: [text, image, resource] }) },
  {
    name: 'test_error_handling',
    call: () => failure(new MillraceError('internal', 'It fails, always.', { hint: 'There is none.' })),
  },
  { name: 'test_tool_with_logging', call: ({ context }) => logged(context.mcpReq.log) },
  { name: 'test_logging_tool', call: ({ context }) => logged(context.mcpReq.log) },
  {
    name: 'test_tool_with_progress',
    async call({ context: { mcpReq } }) {
      const progressToken = mcpReq._meta?.progressToken ?? 0;
      for (const progress of [0, 50, 100]) {
        await mcpReq.notify({
          method: 'notifications/progress',
          params: { progressToken, progress, total: 100 },
        });
        await sleep(pauseMs);
      }
      return said('All of it.');
    },
  },
  {
    name: 'test_reconnection',
    async call({ context }) {
      context.http?.closeSSE?.();
      await sleep(pauseMs);
      return said('The answer, after the stream broke.');
    },
  },
  {
    name: 'json_schema_2020_12_tool',
    inputSchema: {
      $schema: 'https://json-schema.org/draft/2020-12/schema',
      type: 'object',
      $defs: {
        address: {
          $anchor: 'addressDef',
          type: 'object',
          properties: { street: { type: 'string' }, city: { type: 'string' } },
        },
      },
      properties: {
        name: { type: 'string' },
        address: { $ref: '#/$defs/address' },
        contactMethod: { type: 'string', enum: ['phone', 'email'] },
        phone: { type: 'string' },
        email: { type: 'string' },
      },
      allOf: [{ anyOf: [{ required: ['phone'] }, { required: ['email'] }] }],
      if: { properties: { contactMethod: { const: 'phone' } }, required: ['contactMethod'] },
      // biome-ignore lint/suspicious/noThenProperty: a word of JSON Schema
      then: { required: ['phone'] },
      else: { required: ['email'] },
      additionalProperties: false,
    },
    call: ({ args }) => said(JSON.stringify(args)),
  },
];

type Log = (level: LoggingLevel, data: unknown) => Promise<void>;

async function logged(log: Log): Promise<ReturnType<typeof said>> {
  for (const data of ['begins', 'works', 'ends']) {
    await log('info', data);
    await sleep(pauseMs);
  }
  return said('Done.');
}

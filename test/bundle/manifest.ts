import { listTools } from '../../src/mcp/server.ts';
import type { PackageFile } from './package.ts';

/** What a client asks the person for when the bundle is installed, and under which name the server finds it. */
const ASKED = {
  password: {
    env: 'MILLRACE_PASSWORD',
    type: 'string',
    title: 'Password of your database',
    description:
      'Kept by your system and never shown to the assistant: a connector names it as ${env:MILLRACE_PASSWORD}.',
    sensitive: true,
  },
  token: {
    env: 'MILLRACE_TOKEN',
    type: 'string',
    title: 'Token or key of your API',
    description:
      'Kept by your system and never shown to the assistant: a connector names it as ${env:MILLRACE_TOKEN}.',
    sensitive: true,
  },
  data_folder: {
    env: 'MILLRACE_DATA_DIR',
    type: 'directory',
    title: 'Folder for the data',
    description:
      'Where connectors, runs and landed rows are kept, on a local disk. Empty: the data folder of your system.',
  },
  config_file: {
    env: 'MILLRACE_CONFIG',
    type: 'file',
    title: 'Config file',
    description: 'Limits, network rules and connectors as code. Empty: the defaults.',
  },
} as const;

/** `manifest.json` of the bundle: github.com/modelcontextprotocol/mcpb, MANIFEST.md; `mcpb validate` judges it. */
export function manifest(pkg: PackageFile): object {
  return {
    manifest_version: '0.3',
    name: pkg.name,
    display_name: 'Millrace',
    version: pkg.version,
    description: pkg.description,
    long_description:
      'Connect a PostgreSQL, MySQL or MariaDB database or a REST API in conversation. Millrace keeps a copy of its tables on this computer, exact and current on a schedule, and answers questions about them in SQL. Passwords stay out of the conversation.',
    author: { name: 'The Millrace authors' },
    license: pkg.license,
    keywords: pkg.keywords,
    server: {
      type: 'node',
      entry_point: pkg.bin.millrace,
      mcp_config: {
        command: 'node',
        args: [`\${__dirname}/${pkg.bin.millrace}`],
        env: Object.fromEntries(
          Object.entries(ASKED).map(([key, { env }]) => [env, `\${user_config.${key}}`]),
        ),
      },
    },
    tools: listTools({ readOnly: false }).map(({ name, description }) => ({ name, description })),
    prompts_generated: true,
    compatibility: { platforms: ['darwin', 'linux', 'win32'], runtimes: { node: pkg.engines.node } },
    // Empty by default: clients leave the placeholder itself in the environment where there is none.
    user_config: Object.fromEntries(
      Object.entries(ASKED).map(([key, { env: _, ...asked }]) => [
        key,
        { ...asked, required: false, default: '' },
      ]),
    ),
  };
}

# syntax=docker/dockerfile:1
# `millrace serve`, always on. It wants a config file with tokens (README, "Always on, over HTTP"):
#   docker run -p 7717:7717 -v millrace:/data -v ./mcp.config.json:/config.json:ro -e MILLRACE_CONFIG=/config.json millrace

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts --omit=optional
COPY tsconfig.json rolldown.config.ts ./
COPY src ./src
RUN node node_modules/rolldown/bin/cli.mjs -c
RUN npm prune --ignore-scripts --omit=dev --omit=optional

FROM node:24-bookworm-slim
ENV NODE_ENV=production MILLRACE_DATA_DIR=/data
WORKDIR /app
COPY LICENSE package.json ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
RUN install -d -o node -g node -m 700 /data
USER node
VOLUME /data
EXPOSE 7717
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:7717/healthz').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "dist/main.js"]
CMD ["serve", "--host", "0.0.0.0"]

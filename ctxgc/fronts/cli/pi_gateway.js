// Pi's providers behind ctxgc's gateway, for one run: `ctxgc run pi` loads this file by `-e` and sets both variables.
export default function (pi) {
  const bases = { anthropic: process.env.CTXGC_PI_ANTHROPIC, openai: process.env.CTXGC_PI_OPENAI };
  for (const [provider, baseUrl] of Object.entries(bases)) {
    if (baseUrl) pi.registerProvider(provider, { baseUrl });
  }
}

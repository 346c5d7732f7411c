"""The look of the HTML report: a style sheet, system fonts, light and dark by the reader's own setting."""

from __future__ import annotations

STYLE = """
:root{--paper:#fbfaf7;--card:#fff;--ink:#1d2327;--soft:#5d676e;--faint:#8b949a;--rule:#e4e2dc;--ours:#0b7a75;
--wash:#0b7a7512;--warm:#c8642b;--drag:#e0a458;--void:#b9bec2;--dot:#6d7880;--inside:#fff}
@media(prefers-color-scheme:dark){:root{--paper:#14181b;--card:#1b2024;--ink:#e8eaeb;--soft:#a3adb4;--faint:#77828a;
--rule:#2b3237;--ours:#3fc1b7;--wash:#3fc1b71a;--warm:#ef8f57;--drag:#b97d33;--void:#4a545b;--dot:#8c979e;
--inside:#fff}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif;
-webkit-font-smoothing:antialiased}
main{max-width:1000px;margin:0 auto;padding:48px 24px 64px}
header{margin-bottom:40px}
.brand{margin:0 0 20px;color:var(--ours);font:600 14px/1 ui-monospace,"SF Mono",Menlo,monospace}
h1{margin:0;max-width:22em;font-size:34px;font-weight:600;line-height:1.2;letter-spacing:-.02em;text-wrap:balance}
h1 b{color:var(--ours);font-weight:700;font-variant-numeric:tabular-nums}
.facts{margin:16px 0 28px;color:var(--soft)}
dl{display:flex;flex-wrap:wrap;gap:1px;margin:0;overflow:hidden;
background:var(--rule);border:1px solid var(--rule);border-radius:12px}
dl div{flex:1 1 150px;padding:16px 18px;background:var(--card)}
dt{color:var(--soft);font-size:13px}
dd{margin:2px 0 0;font-size:26px;font-weight:600;letter-spacing:-.01em;font-variant-numeric:tabular-nums}
small{color:var(--faint);font-size:13px;font-weight:400}
section{margin-top:52px}
h2{margin:0 0 6px;font-size:21px;font-weight:600;letter-spacing:-.01em}
h3{margin:18px 0 6px;font-size:14px;font-weight:600;color:var(--soft)}
.note{margin:0 0 16px;max-width:56em;color:var(--soft);font-size:15px}
figure{margin:0;padding:20px 20px 14px;overflow-x:auto;background:var(--card);border:1px solid var(--rule);
border-radius:12px}
svg{display:block;width:100%;min-width:680px;height:auto;overflow:visible}
details{margin-top:2px}
details[open]{margin-bottom:16px}
summary{padding:6px 2px;cursor:pointer;font-weight:500}
summary small{margin-left:8px}
text{fill:var(--soft);font:12px system-ui,-apple-system,"Segoe UI",sans-serif;font-variant-numeric:tabular-nums}
.axis{fill:var(--faint)}.tick{fill:var(--faint);font-size:11px}.name{fill:var(--ink);font-size:13px}
.value{fill:var(--soft);font-size:12.5px}
.grid{stroke:var(--rule);stroke-width:1}.grid.strong{stroke:var(--faint);stroke-dasharray:2 3}
.whisker{stroke:var(--dot);stroke-width:2.5;stroke-linecap:round;opacity:.45}
.dot{fill:var(--dot)}.placebo{fill:var(--card);stroke:var(--warm);stroke-width:1.3}
.bound{stroke:var(--warm);stroke-width:1.5}
.band{fill:var(--wash)}
.ours .dot{fill:var(--ours)}.ours .whisker{stroke:var(--ours);opacity:.6}
.ours .name,.ours .value{fill:var(--ours);font-weight:700}
.base .dot{fill:var(--ink)}
.oracle .dot{fill:var(--card);stroke:var(--dot);stroke-width:2}.oracle .name{fill:var(--faint);font-style:italic}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
path.line0{stroke:var(--dot)}path.line1{stroke:var(--warm)}path.line2{stroke:var(--ours);stroke-width:2.4}
.end{font-size:13px;font-weight:600}text.line0{fill:var(--dot)}text.line1{fill:var(--warm)}text.line2{fill:var(--ours)}
.cut{stroke:var(--faint);stroke-width:1;stroke-dasharray:3 4}
.share.live{fill:var(--ours)}.share.drag{fill:var(--drag)}.share.void{fill:var(--void)}
.inside{fill:var(--inside);font-weight:600;paint-order:stroke;stroke:#0003;stroke-width:2px}
.inside.void{fill:var(--ink);stroke:none}
.wide{overflow-x:auto;background:var(--card);border:1px solid var(--rule);border-radius:12px}
table{width:100%;border-collapse:collapse;font-size:13.5px;font-variant-numeric:tabular-nums}
th,td{padding:7px 11px;text-align:left;white-space:nowrap}
th{color:var(--faint);font-weight:500;border-bottom:1px solid var(--rule)}
tr+tr td{border-top:1px solid var(--rule)}
.right{text-align:right}
.wide td:nth-child(2):not(.right){max-width:31em;overflow:hidden;text-overflow:ellipsis}
td:last-child:not(.right){min-width:10em;white-space:normal;line-height:1.35}
tr.ours td{background:var(--wash);font-weight:600}
footer{margin-top:56px;padding-top:20px;border-top:1px solid var(--rule);color:var(--faint);font-size:14px}
footer p{max-width:52em;margin:0 0 8px}
@media print{details{display:block}figure,.wide,dl{break-inside:avoid}}
"""

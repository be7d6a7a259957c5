// The dashboard, drawn by Grafana's own components from the answers of Prometheus in `window.answers`.
import { createTheme, dateTime, FieldType, getDisplayProcessor, ThemeContext, toDataFrame } from "@grafana/data";
import { BigValue, BigValueColorMode, BigValueGraphMode, PanelChrome, TimeSeries } from "@grafana/ui";
import "uplot/dist/uPlot.min.css";
import { createRoot } from "react-dom/client";

const theme = createTheme({ colors: { mode: "light" } });
const { dashboard, answers, from, to } = window.picture;
const timeRange = { from: dateTime(from), to: dateTime(to), raw: { from: dateTime(from), to: dateTime(to) } };

const CELL = { width: 1440 / 24, height: 30, gap: 8 };

// What Grafana makes of the answers: a frame for each series, with the settings of the panel.
function frames(panel) {
  const { thresholds, ...defaults } = panel.fieldConfig.defaults;
  const steps = thresholds?.steps.map((step) => ({ ...step, value: step.value ?? -Infinity }));
  const all = panel.targets.flatMap((target) => answers[target.expr].map((series) => ({ target, series })));
  return all.map(({ target, series }, seriesIndex) => {
    const displayName = target.legendFormat.replace(/\{\{(\w+)\}\}/g, (_, label) => series.metric[label] ?? "");
    const config = { ...defaults, displayName, thresholds: steps && { ...thresholds, steps } };
    const values = series.values.map(([, value]) => Number(value));
    const times = series.values.map(([time]) => time * 1000);
    const frame = toDataFrame({
      fields: [
        { name: "Time", type: FieldType.time, values: times, config: {} },
        { name: "Value", type: FieldType.number, values, config },
      ],
    });
    const field = frame.fields[1];
    field.state = { seriesIndex, displayName };
    frame.fields.forEach((field) => (field.display = getDisplayProcessor({ field, theme, timeZone: "utc" })));
    return frame;
  });
}

function Stat({ panel, width, height }) {
  const [x, field] = frames(panel)[0]?.fields ?? [];
  if (!field) return null;
  return (
    <BigValue
      value={field.display(field.values.at(-1))}
      sparkline={{ x, y: field }}
      colorMode={BigValueColorMode.Value}
      graphMode={BigValueGraphMode.Area}
      theme={theme}
      width={width}
      height={height}
    />
  );
}

function Content({ panel, width, height }) {
  if (panel.type === "stat") return <Stat panel={panel} width={width} height={height} />;
  const { legend } = panel.options;
  return <TimeSeries frames={frames(panel)} timeRange={timeRange} timeZone="utc" width={width} height={height} legend={legend} />;
}

function Panel({ panel }) {
  const { x, y, w, h } = panel.gridPos;
  const [width, height] = [w * CELL.width - CELL.gap, h * CELL.height - CELL.gap];
  const place = { position: "absolute", left: x * CELL.width + CELL.gap / 2, top: y * CELL.height + CELL.gap / 2 };
  if (panel.type === "row") return <h3 style={{ ...place, font: "500 15px Inter, sans-serif", color: theme.colors.text.primary }}>{panel.title}</h3>;
  return (
    <div style={place}>
      <PanelChrome title={panel.title} width={width} height={height}>
        {(width, height) => <Content panel={panel} width={width} height={height} />}
      </PanelChrome>
    </div>
  );
}

document.body.style.cssText = `margin: 0; background: ${theme.colors.background.canvas}; font-family: Inter, Helvetica, Arial, sans-serif; font-size: 14px; color: ${theme.colors.text.primary}`;
createRoot(document.getElementById("dashboard")).render(
  <ThemeContext.Provider value={theme}>
    {dashboard.panels.map((panel) => <Panel key={panel.id} panel={panel} />)}
  </ThemeContext.Provider>,
);

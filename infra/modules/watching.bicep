// What the service's telemetry is for: the workbook that shows it, and the alerts that somebody gets by mail.
// The queries are files, shown in docs/observability.md and held to the names that the service emits by
// tests/test_observability_queries.py.
param location string
param tags object

@minLength(13)
param suffix string

param insightsName string
param appPrincipalId string

@description('Who gets mail; empty: no alerts')
param alertEmail string = ''

@description('USD a month for the resource group; 0: no budget')
param monthlyBudget int = 0

@description('A month\'s first day; the budget counts from there')
param budgetStart string

var metricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

// Application Insights takes telemetry of identities with this role alone: its keys are off.
resource publishing 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, appPrincipalId, metricsPublisher)
  scope: insights
  properties: {
    principalId: appPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', metricsPublisher)
  }
}

var charts = [
  {
    title: 'Turns'
    query: loadTextContent('../queries/turns.kql')
    looks: 'barchart'
  }
  {
    title: 'Milliseconds to the first chunk'
    query: loadTextContent('../queries/first_chunk.kql')
    looks: 'linechart'
  }
  {
    title: 'Endings: finish reasons, client disconnects, error codes'
    query: loadTextContent('../queries/endings.kql')
    looks: 'barchart'
  }
  {
    title: 'Whose fault: an upstream figure near the first chunk\'s is the model\'s time'
    query: loadTextContent('../queries/whose_fault.kql')
    looks: 'table'
  }
  {
    title: 'Requests to the upstream'
    query: loadTextContent('../queries/upstream.kql')
    looks: 'table'
  }
  {
    title: 'Tokens and their estimated cost, by day (set the prices in the query)'
    query: loadTextContent('../queries/tokens.kql')
    looks: 'table'
  }
  {
    title: 'Replicas, and the most turns open on one'
    query: loadTextContent('../queries/replicas.kql')
    looks: 'linechart'
  }
  {
    title: 'Cold starts, and their seconds to readiness'
    query: loadTextContent('../queries/starts.kql')
    looks: 'table'
  }
]
var since = {
  type: 9
  content: {
    version: 'KqlParameterItem/1.0'
    parameters: [
      {
        id: guid('since')
        version: 'KqlParameterItem/1.0'
        name: 'since'
        label: 'Time'
        type: 4
        isRequired: true
        value: { durationMs: 86400000 }
        typeSettings: { allowCustom: true }
      }
    ]
  }
  name: 'since'
}
var items = [
  for chart in charts: {
    type: 3
    content: {
      version: 'KqlItem/1.0'
      query: chart.query
      title: chart.title
      size: 0
      timeContextFromParameter: 'since'
      queryType: 0
      resourceType: 'microsoft.insights/components'
      visualization: chart.looks
    }
    name: chart.title
  }
]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(insights.id, 'chat-api')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'chat-api'
    category: 'workbook'
    sourceId: insights.id
    serializedData: string({
      version: 'Notebook/1.0'
      items: concat([since], items)
      fallbackResourceIds: [insights.id]
    })
  }
}

var alerts = [
  {
    name: 'errors'
    says: 'More than 5 % of the turns of 5 minutes failed for a reason that is not the caller\'s'
    query: loadTextContent('../queries/alert_errors.kql')
    column: 'error_share'
    above: 5
    minutes: 5
    severity: 1
  }
  {
    name: 'first-chunk'
    says: 'The slowest 5 % of the turns of 15 minutes waited more than 10 s for their first chunk'
    query: loadTextContent('../queries/alert_first_chunk.kql')
    column: 'first_chunk_p95_ms'
    above: 10000
    minutes: 15
    severity: 2
  }
  {
    name: 'denied'
    says: 'The service may not use its agent: a role is missing (docs/deploy.md)'
    query: loadTextContent('../queries/alert_denied.kql')
    column: ''
    above: 0
    minutes: 5
    severity: 1
  }
]

resource mail 'Microsoft.Insights/actionGroups@2023-01-01' = if (!empty(alertEmail)) {
  name: 'ag-${suffix}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'chat-api'
    enabled: true
    emailReceivers: [
      {
        name: 'operator'
        emailAddress: alertEmail
        useCommonAlertSchema: true
      }
    ]
  }
}

resource rules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [
  for alert in (empty(alertEmail) ? [] : alerts): {
    name: 'chat-api-${alert.name}'
    location: location
    tags: tags
    properties: {
      displayName: 'chat-api: ${alert.says}'
      enabled: true
      severity: alert.severity
      scopes: [insights.id]
      evaluationFrequency: 'PT5M'
      windowSize: 'PT${alert.minutes}M'
      criteria: {
        allOf: [
          {
            query: alert.query
            timeAggregation: empty(alert.column) ? 'Count' : 'Maximum'
            metricMeasureColumn: empty(alert.column) ? null : alert.column
            operator: 'GreaterThan'
            threshold: alert.above
            failingPeriods: {
              numberOfEvaluationPeriods: 1
              minFailingPeriodsToAlert: 1
            }
          }
        ]
      }
      autoMitigate: true
      actions: { actionGroups: [mail.id] }
    }
  }
]

resource budget 'Microsoft.Consumption/budgets@2023-11-01' = if (!empty(alertEmail) && monthlyBudget > 0) {
  name: 'chat-api-${suffix}'
  properties: {
    category: 'Cost'
    amount: monthlyBudget
    timeGrain: 'Monthly'
    timePeriod: { startDate: budgetStart }
    notifications: {
      nearly: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 80
        thresholdType: 'Actual'
        contactEmails: [alertEmail]
      }
      expected: {
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
        contactEmails: [alertEmail]
      }
    }
  }
}
